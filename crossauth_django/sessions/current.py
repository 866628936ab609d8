"""Which session the request under way has."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossauth_django.sessions.engine import SessionStore

# The first session that the request has loaded; None between requests, where whatever a thread
# did last must not be taken for the one that acts now.
_slot: ContextVar[list[SessionStore] | None] = ContextVar(
    "crossauth_session", default=None
)


def start_of_request() -> None:
    """Expect the session that the request loads first."""
    _slot.set([])


def end_of_request() -> None:
    """Forget it."""
    _slot.set(None)


def current_session() -> SessionStore | None:
    """Return the session of the request under way, if it has loaded one."""
    slot = _slot.get()
    return slot[0] if slot else None


def note_loaded(session: SessionStore) -> None:
    """Take the session for the request's, unless it has loaded one before."""
    slot = _slot.get()
    if slot is not None and not slot:
        slot.append(session)
