"""What signs the request under way in: its session, or a bearer token."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync

from crossauth_django.sessions.clients import client_of, meta_of

if TYPE_CHECKING:
    from crossauth_django.sessions.engine import SessionStore


class SignedInBy(NamedTuple):
    """What ``BearerTokenMiddleware`` leaves on a request that a token signs in: ``request.crossauth``."""

    token_digest: str


@dataclass
class _Current:
    # What Django says when a request begins: its environ, or its ASGI scope.
    environ: Mapping[str, Any] | None = None
    scope: Mapping[str, Any] | None = None
    # The first session that the request has loaded.
    session: SessionStore | None = None
    token: SignedInBy | None = None


# None between requests, where whatever a thread did last must not be taken for the one that
# acts now.
_slot: ContextVar[_Current | None] = ContextVar("crossauth_current", default=None)


# Behind an ASGI server ``request_started`` runs in a task of its own, and what that sets is lost
# with it. What all tasks and threads of one request share is this object of Django's handler.
_slots: WeakKeyDictionary[object, _Current] = WeakKeyDictionary()


def start_of_request(
    environ: Mapping[str, Any] | None, scope: Mapping[str, Any] | None
) -> None:
    """Expect the session that the request loads first."""
    context, current = _asgi_context(), _Current(environ, scope)
    if context is None:
        _slot.set(current)
    else:
        _slots[context] = current


def end_of_request() -> None:
    """Forget it."""
    context = _asgi_context()
    if context is None:
        _slot.set(None)
    else:
        _slots.pop(context, None)


def current_session() -> SessionStore | None:
    """Return the session of the request under way, if it has loaded one."""
    current = _current()
    return current.session if current else None


def current_token() -> SignedInBy | None:
    """Return what signs the request under way in when that is a token."""
    current = _current()
    return current.token if current else None


def current_client() -> dict[str, Any] | None:
    """Return what a row keeps of the client whose request is under way; None between requests."""
    current = _current()
    if current is None:
        return None
    if current.environ is not None:
        return client_of(current.environ)
    return None if current.scope is None else client_of(meta_of(current.scope))


def note_loaded(session: SessionStore) -> None:
    """Take the session for the request's, unless it has loaded one before."""
    current = _current()
    if current is not None and current.session is None:
        current.session = session


def note_token(token: SignedInBy) -> None:
    """Say that a token signs the request under way in."""
    current = _current()
    if current is not None:
        current.token = token


def _current() -> _Current | None:
    context = _asgi_context()
    return _slot.get() if context is None else _slots.get(context)


def _asgi_context() -> object | None:
    return SyncToAsync.thread_sensitive_context.get(None)
