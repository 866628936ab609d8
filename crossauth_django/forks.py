"""What a forked process has to make anew; nothing happens where processes do not fork."""

from __future__ import annotations

import os
from collections.abc import Callable


def at_fork(**hooks: Callable[[], object]) -> None:
    """Register ``before``, ``after_in_parent`` and ``after_in_child``, where there are forks."""
    register = getattr(os, "register_at_fork", dict)
    register(**hooks)
