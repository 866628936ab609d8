"""Steps that give up on a server that does not answer, so that workers do not pile up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.forks import at_fork
from crossauth_django.stores import Reply, Step, Store, get_store

# How long one failure speaks for the next callers of this process.
PAUSE_SECONDS = 1.0

_silent_until: dict[Store, float] = {}
_lock = threading.Lock()


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _silent_until.clear()


at_fork(after_in_child=_forget)


def step(
    step: Step, keys: Sequence[str], args: Sequence[str | int], slot: str
) -> Reply:
    """Run one step on the site's store; raise ``StoreUnavailableError`` when it is down.

    A call that hangs ends with the socket's timeout. For a second from then on every caller in
    this process is refused at once, then one of them asks the server again.
    """
    store = get_store()
    _enter(store)
    try:
        reply = store.step(step, keys, args, slot=slot)
    except StoreUnavailableError as error:
        # One busy key is no reason to refuse everybody else.
        _leave(store, failed=not isinstance(error, StoreBusyError))
        raise
    _leave(store, failed=False)
    return reply


async def astep(
    step: Step, keys: Sequence[str], args: Sequence[str | int], slot: str
) -> Reply:
    """Do what ``step`` does, without blocking the event loop."""
    store = get_store()
    _enter(store)
    try:
        reply = await store.astep(step, keys, args, slot=slot)
    except StoreUnavailableError as error:
        # One busy key is no reason to refuse everybody else.
        _leave(store, failed=not isinstance(error, StoreBusyError))
        raise
    _leave(store, failed=False)
    return reply


def _enter(store: Store) -> None:
    if store not in _silent_until:
        return
    with _lock:
        now = time.monotonic()
        if now < _silent_until.get(store, now):
            raise StoreUnavailableError(
                f"CACHES[{store.alias!r}] did not answer a moment ago"
            )
        # This caller finds out; the others need not wait with it.
        _silent_until[store] = now + PAUSE_SECONDS


def _leave(store: Store, *, failed: bool) -> None:
    if failed or store in _silent_until:
        with _lock:
            if failed:
                _silent_until[store] = time.monotonic() + PAUSE_SECONDS
            else:
                _silent_until.pop(store, None)
