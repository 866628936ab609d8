"""Every CROSSAUTH_* setting: its name, its type and what it points at."""

from __future__ import annotations

from collections.abc import Callable

from django.core import checks

CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
