"""Authentication state for Django that stays correct under any burst."""

from __future__ import annotations

__version__ = "0.1.0"
