"""Template tags; ``{% load crossauth %}``."""

from __future__ import annotations
