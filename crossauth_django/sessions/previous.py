"""The engine that the site used before, while its sessions move in."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from crossauth_django.conf import conf


def previous_data(key: str) -> dict[str, Any] | None:
    """Return what ``CROSSAUTH_SESSION_PREVIOUS_ENGINE`` knows under this key, if anything."""
    previous = _previous(key)
    if previous is None:
        return None
    data: dict[str, Any] = previous.load()
    # An engine that finds nothing forgets the key.
    return data or None if previous.session_key is not None else None


def forget_previous(key: str) -> None:
    """Delete it there: some of Django's engines keep the key in clear."""
    previous = _previous(key)
    if previous is not None:
        previous.delete(key)


def _previous(key: str) -> SessionBase | None:
    engine = conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE
    if engine is None:
        return None
    store: SessionBase = import_module(engine).SessionStore(key)
    return store
