"""The engine that the site used before, while its sessions move in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from django.contrib.sessions.backends.base import SessionBase

from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.outages import Outage

R = TypeVar("R")


def previous_data(key: str) -> dict[str, Any] | None:
    """Return what ``CROSSAUTH_SESSION_PREVIOUS_ENGINE`` knows under this key, if anything.

    Raise ``StoreUnavailableError`` when that cannot be known now.
    """
    engine = str(conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE)
    if outage_of(engine).is_silent:
        raise StoreUnavailableError(f"{engine} did not answer")

    def load(previous: SessionBase) -> dict[str, Any] | None:
        data: dict[str, Any] = previous.load()
        # An engine that finds nothing forgets the key.
        return data or None if previous.session_key is not None else None

    return _ask(engine, key, load)


def forget_previous(key: str) -> bool:
    """Delete it there: some of Django's engines keep the key in clear; False when it failed."""
    engine = conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE
    if engine is None:
        return True
    try:
        _ask(engine, key, lambda previous: previous.delete(key))
    except StoreUnavailableError:
        return False
    return True


@functools.cache
def outage_of(engine: str) -> Outage:
    """What this process knows about an engine's server."""
    return Outage(f"CROSSAUTH_SESSION_PREVIOUS_ENGINE = {engine!r} does not answer")


def _ask(engine: str, key: str, question: Callable[[SessionBase], R]) -> R:
    store = import_module(engine).SessionStore
    try:
        return question(store(key))
    except Exception as error:
        # Each engine raises what its server's driver raises.
        outage_of(engine).note(error)
        raise StoreUnavailableError(f"{engine} does not answer") from error
