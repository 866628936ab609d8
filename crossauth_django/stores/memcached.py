"""Memcached: every write compares and swaps (CAS), so nobody overwrites what he has not seen.

An entry is a line (expiry, lock, until when it is locked) and the value. Nothing trusts the
answer of ``delete()`` or an unconditional ``set``. A step over several keys locks their
entries, in order, for a few seconds at most; others wait. The locks stand in the entries and not
beside them as mutexes made by ``add()``: the swap that writes a value is the one that finds out
whether its lock is still held, so a worker that was stopped for too long overwrites nothing. Memcached forgets everything at a
restart, and some things early when its memory is full.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.memcached import PyLibMCCache

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.stores.base import (
    R,
    Reply,
    Step,
    Store,
    Write,
    decide,
    lifetime_ms,
    stored_name,
)
from crossauth_django.stores.memcached_clients import (
    Client,
    Clients,
    PyLibMCClient,
    PyMemcacheClient,
)
from crossauth_django.stores.portable import (
    NEVER,
    SLACK_SECONDS,
    attempts,
    expiry_ms,
    is_past,
    now_ms,
)

# The lock of a worker that dies ends by itself; one that was only stopped finds out by CAS.
_LOCK_MS = 5000
_THIRTY_DAYS = 30 * 24 * 3600
_LATEST = 2**31 - 1


class Entry(NamedTuple):
    """What memcached holds under one name."""

    expiry: int
    value: bytes
    lock: str = "-"
    locked_until: int = 1

    @property
    def is_locked(self) -> bool:
        return not is_past(self.locked_until)

    @property
    def live_value(self) -> str | None:
        return (
            None
            if is_past(self.expiry)
            else self.value.decode("utf-8", "surrogatepass")
        )

    def packed(self) -> bytes:
        return b"%d %s %d\n%s" % (
            self.expiry,
            self.lock.encode(),
            self.locked_until,
            self.value,
        )

    def exptime(self) -> int:
        """Return memcached's own lifetime, in its notation; never shorter than ours."""
        if self.expiry == NEVER:
            return 0
        end = max(self.expiry, self.locked_until)
        seconds = (end - now_ms()) // 1000 + 1
        if seconds <= 0:
            return -1
        if seconds + SLACK_SECONDS <= _THIRTY_DAYS:
            return seconds + SLACK_SECONDS
        # Longer ones are moments, in 32 bits.
        moment = end // 1000 + 1 + SLACK_SECONDS
        return 0 if moment > _LATEST else moment


# Expired in 1970: written over an entry, it removes it.
_NOTHING = Entry(1, b"")


class MemcachedStore(Store):
    """Exact across processes and machines, in two round trips or more."""

    def __init__(self, alias: str, cache: BaseCache, params: Mapping[str, Any]) -> None:
        super().__init__(alias, cache)
        of_c = isinstance(cache, PyLibMCCache)
        client: Callable[[Any], Client] = PyLibMCClient if of_c else PyMemcacheClient
        self._clients = Clients(alias, lambda: client(cache))

    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        new, name = _entry(value, lifetime_ms(ttl)), self._name(key, slot)
        self._swap(name, lambda old: (None, new))

    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        new, name = _entry(value, lifetime_ms(ttl)), self._name(key, slot)
        return self._swap(
            name, lambda old: (True, new) if old.live_value is None else (False, None)
        )

    def get(self, key: str, *, slot: str = "") -> str | None:
        return self._swap(self._name(key, slot), lambda old: (old.live_value, None))

    def get_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        tries = attempts(self.alias)
        while True:
            next(tries)
            found = [_unpacked(data) for data in self._clients.read_many(names)]
            if not any(entry.is_locked for entry in found):
                return [entry.live_value for entry in found]

    def delete(self, key: str, *, slot: str = "") -> bool:
        return self.pop(key, slot=slot) is not None

    def pop(self, key: str, *, slot: str = "") -> str | None:
        return self._swap(self._name(key, slot), lambda old: (old.live_value, _NOTHING))

    def step(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        if len(names) > 1:
            return self._step_together(step, names, args)

        def judge(old: Entry) -> tuple[Reply, Entry | None]:
            reply, writes = decide(step, [old.live_value], now_ms(), args)
            return reply, _written(writes[0]) if writes else None

        return self._swap(names[0], judge)

    def close(self) -> None:
        self._clients.close()

    def _name(self, key: str, slot: str) -> str:
        return str(self._cache.make_and_validate_key(stored_name(key, slot)))

    def _swap(self, name: str, judge: Callable[[Entry], tuple[R, Entry | None]]) -> R:
        """Read, judge and write what was judged right, until nobody came in between."""
        tries = attempts(self.alias)
        while True:
            next(tries)
            data, token = self._clients.read(name)
            old = _unpacked(data)
            if old.is_locked:
                continue
            answer, new = judge(old)
            if new is None or (data is None and new == _NOTHING):
                return answer
            if self._clients.write(name, new.packed(), token, new.exptime()):
                return answer

    def _step_together(
        self, step: Step, names: Sequence[str], args: Sequence[str | int]
    ) -> Reply:
        tries = attempts(self.alias)
        while True:
            next(tries)
            lock = secrets.token_hex(8)
            try:
                held = self._hold(names, lock)
                values = [entry.live_value for entry, _ in held or ()]
                reply, writes = (
                    decide(step, values, now_ms(), args) if held else ([], {})
                )
                if held and self._settle(names, held, writes):
                    return reply
            except Exception:
                self._release(names, lock)
                raise
            self._release(names, lock)

    def _hold(self, names: Sequence[str], lock: str) -> list[tuple[Entry, Any]] | None:
        """Lock all entries; return them with their tokens, or None when it took too long."""
        until = now_ms() + _LOCK_MS
        for name in sorted(names):
            self._swap(
                name, lambda old: (None, old._replace(lock=lock, locked_until=until))
            )
        found = [self._clients.read(name) for name in names]
        held = [(_unpacked(data), token) for data, token in found if data is not None]
        is_whole = len(held) == len(names) and all(
            entry.lock == lock for entry, _ in held
        )
        return held if is_whole else None

    def _settle(
        self,
        names: Sequence[str],
        held: Sequence[tuple[Entry, Any]],
        writes: Mapping[int, Write],
    ) -> bool:
        """Write and unlock; False when the first lock was gone, and nothing is written."""
        news = [
            _written(writes[position]) if position in writes else _unlocked(entry)
            for position, (entry, _) in enumerate(held)
        ]
        # The longest first: a value that the server finds too large is refused before another
        # is written.
        order = sorted(
            range(len(news)), key=lambda position: -len(news[position].packed())
        )
        for position in order:
            (entry, token), new = held[position], news[position]
            if entry.is_locked and self._clients.write(
                names[position], new.packed(), token, new.exptime()
            ):
                continue
            if position != order[0]:
                raise StoreUnavailableError(
                    f"CACHES[{self.alias!r}]: a step was stopped half-way for too long"
                )
            return False
        return True

    def _release(self, names: Sequence[str], lock: str) -> None:
        try:
            for name in names:
                data, token = self._clients.read(name)
                entry = _unpacked(data)
                if entry.lock == lock:
                    free = _unlocked(entry)
                    self._clients.write(name, free.packed(), token, free.exptime())
        except StoreUnavailableError:
            pass  # The locks end by themselves.


def _entry(value: str, life: int | None) -> Entry:
    if life is not None and life <= 0:
        return _NOTHING
    return Entry(expiry_ms(life), value.encode("utf-8", "surrogatepass"))


def _written(write: Write) -> Entry:
    return _NOTHING if write.value is None else _entry(write.value, write.ttl_ms)


def _unlocked(entry: Entry) -> Entry:
    return Entry(entry.expiry, entry.value)


def _unpacked(data: bytes | None) -> Entry:
    if data is None:
        return _NOTHING
    head, value = data.split(b"\n", 1)
    expiry, lock, locked_until = head.decode("ascii").split(" ")
    return Entry(int(expiry), value, lock, int(locked_until))
