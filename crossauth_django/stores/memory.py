"""LocMemCache: exact among the threads of one process, and not shared with another."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from django.core.cache.backends.base import BaseCache

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

# Aliases with one LOCATION share their entries, so they share the lock.
_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
# In a forked worker nobody would ever release what another thread held at that moment.
os.register_at_fork(after_in_child=_locks.clear)


class MemoryStore(Store):
    """Django's own cache calls under one lock, which each operation holds to its end."""

    def __init__(self, alias: str, cache: BaseCache, params: Mapping[str, Any]) -> None:
        super().__init__(alias, cache)
        self._location = str(params.get("LOCATION", ""))

    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        name, life = stored_name(key, slot), lifetime_ms(ttl)
        with _locks[self._location]:
            self._write(name, value, life)

    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        name, life = stored_name(key, slot), lifetime_ms(ttl)
        with _locks[self._location]:
            is_free = self._cache.get(name) is None
            if is_free:
                self._write(name, value, life)
            return is_free

    def get(self, key: str, *, slot: str = "") -> str | None:
        name = stored_name(key, slot)
        with _locks[self._location]:
            value: str | None = self._cache.get(name)
            return value

    def delete(self, key: str, *, slot: str = "") -> bool:
        return self.pop(key, slot=slot) is not None

    def pop(self, key: str, *, slot: str = "") -> str | None:
        name = stored_name(key, slot)
        with _locks[self._location]:
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
        with _locks[self._location]:
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
