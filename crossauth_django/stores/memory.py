"""LocMemCache: exact among the threads of one process, and not shared with another."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from crossauth_django.forks import at_fork
from crossauth_django.stores.base import (
    P,
    R,
    Reply,
    Step,
    Store,
    decide,
    lifetime_ms,
    stored_name,
)

# Aliases with one LOCATION share their entries, so they share the locks: ours, and Django's,
# which each call of the cache takes inside ours.
_locks: dict[str, tuple[threading.RLock, threading.Lock]] = {}
_held = threading.local()


def _hold_all() -> None:
    """Wait until nobody is inside: in a forked worker nobody would ever come out again."""
    _held.locks = [lock for both in list(_locks.values()) for lock in both]
    for lock in _held.locks:
        lock.acquire()


def _let_go() -> None:
    for lock in reversed(_held.locks):
        lock.release()


at_fork(before=_hold_all, after_in_parent=_let_go, after_in_child=_let_go)


class MemoryStore(Store):
    """Django's own cache calls under one lock, which each operation holds to its end."""

    def __init__(self, alias: str, cache: Any, params: Mapping[str, Any]) -> None:
        super().__init__(alias, cache)
        # In one step: two threads that come first get the same.
        self._lock, _ = _locks.setdefault(
            str(params.get("LOCATION", "")),
            (threading.RLock(), cache._lock),  # noqa: SLF001
        )

    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        name, life = stored_name(key, slot), lifetime_ms(ttl)
        with self._lock:
            self._write(name, value, life)

    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        name, life = stored_name(key, slot), lifetime_ms(ttl)
        with self._lock:
            is_free = self._cache.get(name) is None
            if is_free:
                self._write(name, value, life)
            return is_free

    def get(self, key: str, *, slot: str = "") -> str | None:
        name = stored_name(key, slot)
        with self._lock:
            value: str | None = self._cache.get(name)
            return value

    def get_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        names = [stored_name(key, slot) for key in self._distinct(keys, slot)]
        with self._lock:
            return [self._cache.get(name) for name in names]

    def delete(self, key: str, *, slot: str = "") -> bool:
        return self.pop(key, slot=slot) is not None

    def pop(self, key: str, *, slot: str = "") -> str | None:
        name = stored_name(key, slot)
        with self._lock:
            value: str | None = self._cache.get(name)
            self._cache.delete(name)
            return value

    def step(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        names = [stored_name(key, slot) for key in self._distinct(keys, slot)]
        with self._lock:
            values = [self._cache.get(name) for name in names]
            reply, writes = decide(step, values, int(time.time() * 1000), args)
            for position, write in writes.items():
                self._write(names[position], write.value, write.ttl_ms)
            return reply

    def _write(self, name: str, value: str | None, life: int | None) -> None:
        if value is None or (life is not None and life <= 0):
            self._cache.delete(name)
        else:
            self._cache.set(name, value, None if life is None else life / 1000)

    def _in_thread(self, function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
        # Nothing here waits for a server: a thread would only cost time.
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        return call
