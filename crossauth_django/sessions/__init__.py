"""``SESSION_ENGINE = "crossauth_django.sessions"``: rows that end for ever, read from the cache."""

from __future__ import annotations

from crossauth_django.sessions.current import (
    SignedInBy,
    current_session,
    current_token,
    note_token,
)
from crossauth_django.sessions.engine import SessionStore

__all__ = [
    "SessionStore",
    "SignedInBy",
    "current_session",
    "current_token",
    "note_token",
]
