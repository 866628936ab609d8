"""The cache behind the alias must be shared, must keep what it is given, and must say when it is down."""

from __future__ import annotations

from collections.abc import Callable

from django.core import checks

CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
