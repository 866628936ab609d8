"""``SESSION_ENGINE = "crossauth_django.sessions"``: rows that end for ever, read from the cache."""

from __future__ import annotations

from crossauth_django.sessions.current import current_session
from crossauth_django.sessions.engine import SessionStore

__all__ = ["SessionStore", "current_session"]
