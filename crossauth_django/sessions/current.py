"""Which session the request under way has."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync

if TYPE_CHECKING:
    from crossauth_django.sessions.engine import SessionStore

# The first session that the request has loaded; None between requests, where whatever a thread
# did last must not be taken for the one that acts now.
_slot: ContextVar[list[SessionStore] | None] = ContextVar(
    "crossauth_session", default=None
)


# Behind an ASGI server ``request_started`` runs in a task of its own, and what that sets is lost
# with it. What all tasks and threads of one request share is this object of Django's handler.
_slots: WeakKeyDictionary[object, list[SessionStore]] = WeakKeyDictionary()


def start_of_request() -> None:
    """Expect the session that the request loads first."""
    context = _asgi_context()
    if context is None:
        _slot.set([])
    else:
        _slots[context] = []


def end_of_request() -> None:
    """Forget it."""
    context = _asgi_context()
    if context is None:
        _slot.set(None)
    else:
        _slots.pop(context, None)


def current_session() -> SessionStore | None:
    """Return the session of the request under way, if it has loaded one."""
    slot = _current_slot()
    return slot[0] if slot else None


def note_loaded(session: SessionStore) -> None:
    """Take the session for the request's, unless it has loaded one before."""
    slot = _current_slot()
    if slot is not None and not slot:
        slot.append(session)


def _current_slot() -> list[SessionStore] | None:
    context = _asgi_context()
    return _slot.get() if context is None else _slots.get(context)


def _asgi_context() -> object | None:
    return SyncToAsync.thread_sensitive_context.get(None)
