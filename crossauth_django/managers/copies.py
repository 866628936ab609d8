"""The cache's copies of session rows, and the visitors' sessions that live there alone.

A row's copy is never written over what its writer did not see. A writer first sees, or puts
there, a mark of its own (the nonce of a copy, or a lease), then reads or writes the row, and then
replaces that mark and nothing else, in one atomic step. Ending a session ends the row first and
then takes away whatever stands there, marks included. So whoever read the row before it ended
finds the mark gone, also after the cache was flushed, and revives nothing.

Nobody takes away the copies of all sessions of a user one by one. Each session of a user has a key
whose digest begins as the user's bucket does, a row's copy carries the stamp that its bucket had
before the row was read, and both are read in one round trip: a copy with another stamp is not
believed. Ending all takes the stamp of the bucket away, and it never comes back. Others of the
bucket are asked of their rows once.

A server that was away may come back with copies that are out of date. What changed lately is then
forgotten before any copy is believed (``_settle``), and a copy is never believed for longer than
``CROSSAUTH_SESSION_TOUCH_INTERVAL`` without asking the row.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.buckets import bucket, bucket_of
from crossauth_django.managers.copy_format import (
    LEASE,
    MOVED,
    NO_MARK,
    NONCE,
    ROW,
    STAMP,
    VISITOR,
    Copy,
    Mark,
)
from crossauth_django.managers.outages import Outage
from crossauth_django.stores import Outcome, Step, Store, Write, engine_of, get_store

R = TypeVar("R")

_LEASE_SECONDS = 10
# Renewed when it is over, at the price of asking the rows once.
_STAMP_SECONDS = 30 * 24 * 3600
# Requests that were under way with the old key when it was replaced.
_MOVED_SECONDS = 60
# Clocks of workers differ, and a request takes its time.
_MARGIN = timedelta(seconds=60)

_STAMP_KEY = "session-stamp"

# Which digests changed so lately, and which users' sessions were all ended.
Changed: TypeAlias = Callable[[timedelta], "tuple[list[str], list[Any]]"]


def _decide(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    mark, new, ttl_ms, forgotten = args
    found = values[0]
    if found is None:
        return Outcome([0], {})
    if found.startswith(mark):
        return Outcome([1], {0: Write(new, int(ttl_ms))})
    return Outcome([0], {0: Write(None)} if found[:1] in forgotten else {})


SWAP = Step("session_swap", _decide)


def _decide_lease(
    values: Sequence[str | None], now: int, args: Sequence[str]
) -> Outcome:
    mark, mark_ms, fresh, fresh_ms, row, nonce_length = args
    found, stamp = values
    start = 1 + int(nonce_length)
    if found is not None and not (
        found.startswith(row) and found[start : start + len(fresh)] != stamp
    ):
        return Outcome([""], {})
    writes = {0: Write(mark, int(mark_ms))}
    if stamp is None:
        stamp, writes[1] = fresh, Write(fresh, int(fresh_ms))
    return Outcome([stamp], writes)


LEASE_STEP = Step("session_lease", _decide_lease)


class Copies:
    """The copies in one store, and what this process knows about reaching it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        # A row's copy in the memory of one process would not hear what ends in another.
        self._keeps_rows = engine_of(store.alias) != "memory"
        self._is_in_doubt = False
        self._connections = 0
        self._settled = 0
        self._failures = 0
        self._outage = Outage("Sessions are read from the table meanwhile")

    def read(self, digest: str, changed: Changed) -> str | None:
        """Return what is believed of what stands there; one round trip.

        ``changed`` answers with the digests of the rows that changed so lately, and with the
        users whose sessions were all ended; it is asked only when the server may have been away.
        Raise ``StoreUnavailableError``.
        """
        return self._reach(lambda: self._read(digest, changed))

    def lease(self, digest: str) -> Mark:
        """Put a mark where nothing stands that is believed; ``NO_MARK`` where it may not."""
        mark, key = f"{LEASE}{_random(NONCE)}", _key(digest)
        if not self._keeps_rows:
            return NO_MARK
        lives = _LEASE_SECONDS * 1000, _STAMP_SECONDS * 1000
        args = (mark, lives[0], _random(STAMP), lives[1], ROW, NONCE)
        keys, slot = [key, _STAMP_KEY], bucket(digest)
        try:
            reply = self._reach(
                lambda: self.store.step(LEASE_STEP, keys, args, slot=slot)
            )
        except StoreUnavailableError:
            return NO_MARK
        return Mark(mark, str(reply[0])) if reply[0] else NO_MARK

    def put(self, digest: str, mark: Mark, copy: Copy, ttl: float) -> Copy:
        """Replace the mark by the row's copy, or leave what another writer knows better.

        Whatever else stands there may be older than the row and is forgotten.
        """
        # In the memory of one process no mark is a row's: what a visitor left there goes.
        mark = mark if mark.stamp and self._keeps_rows else NO_MARK
        new = copy._replace(kind=ROW, nonce=_random(NONCE), stamp=mark.stamp)
        try:
            if self._reach(
                lambda: self._swap(digest, mark.text, new, ttl, ROW + VISITOR + LEASE)
            ):
                return new
        except StoreUnavailableError:
            pass  # noted, and the row is written
        return new._replace(nonce="")

    def add_visitor(self, digest: str, copy: Copy, ttl: float) -> bool:
        """Begin a session without a row; False when the key is taken. May raise."""
        key, slot = _key(digest), bucket(digest)
        return self._reach(
            lambda: self.store.add(key, copy.dump(digest), ttl, slot=slot)
        )

    def replace_visitor(self, digest: str, copy: Copy, ttl: float) -> bool:
        """Write a session without a row; False when it has ended. May raise."""
        return self._reach(lambda: self._swap(digest, VISITOR, copy, ttl, ""))

    def drop(self, digests: Sequence[str]) -> bool:
        """Forget the copies of rows that have changed or ended, and marks; False when it failed.

        Tried however the server did lately: silence would leave a copy alive. Tried again when
        an answer was lost, by another connection than the one that broke.
        """
        return self._delete([_place(digest) for digest in digests])

    def disbelieve(self, users: Iterable[Any]) -> bool:
        """Believe no copy any more of these users' rows that were read before; like ``drop``."""
        return self._delete([(_STAMP_KEY, bucket_of(user)) for user in users])

    def mark_moved(self, digest: str) -> bool:
        """Say for a minute that the session has another key; False when it failed."""
        key, slot = _key(digest), bucket(digest)
        try:
            self.store.set(key, MOVED, _MOVED_SECONDS, slot=slot)
        except StoreUnavailableError as error:
            self._note(error)
            return False
        return True

    def _delete(self, places: Sequence[tuple[str, str]]) -> bool:
        error = self._try_delete(places) and self._try_delete(places)
        if error is not None:
            self._note(error)
        return error is None

    def _try_delete(
        self, places: Sequence[tuple[str, str]]
    ) -> StoreUnavailableError | None:
        try:
            self.store.delete_many(places)
        except StoreUnavailableError as error:
            return error
        return None

    def _swap(
        self, digest: str, mark: str, copy: Copy, ttl: float, forgotten: str
    ) -> bool:
        ttl_ms = max(1, int(ttl * 1000))
        args = (mark, copy.dump(digest), ttl_ms, forgotten)
        slot = bucket(digest)
        return self.store.step(SWAP, [_key(digest)], args, slot=slot) == [1]

    def _read(self, digest: str, changed: Changed) -> str | None:
        if self._is_in_doubt:
            self._settle(changed)
        settled = self._settled
        value = self._believed(digest)
        if self.store.connections_made != self._connections:
            self._settle(changed)
        elif settled == self._settled:
            return value
        # Another thread may have settled since: what was read before may be out of date.
        return self._believed(digest)

    def _believed(self, digest: str) -> str | None:
        keys, slot = [_key(digest), _STAMP_KEY], bucket(digest)
        value, stamp = self.store.get_many(keys, slot=slot)
        if value is None or not value.startswith(ROW):
            return value
        return value if value[1 + NONCE :].startswith(f"{stamp}|") else None

    def _reach(self, operation: Callable[[], R]) -> R:
        if self._outage.is_silent:
            raise StoreUnavailableError(f"CACHES[{self.store.alias!r}] did not answer")
        try:
            return operation()
        except StoreUnavailableError as error:
            self._note(error)
            raise

    def _settle(self, changed: Changed) -> None:
        """Forget what changed while the server may have been away.

        Copies that were not asked about since then ask the row themselves (a touch).
        """
        failures, connections = self._failures, -1
        while connections != self.store.connections_made:
            # Read first: what changes while connecting is then found, or sent to the server.
            connections = self.store.connections_made
            digests, users = changed(conf.CROSSAUTH_SESSION_TOUCH_INTERVAL + _MARGIN)
            self.store.delete_many(
                [
                    *map(_place, digests),
                    *((_STAMP_KEY, bucket_of(user)) for user in users),
                ]
            )
        # First, so that whoever sees the connections counted sees this, too.
        self._settled += 1
        self._connections = connections
        self._is_in_doubt = failures != self._failures

    def _note(self, error: StoreUnavailableError) -> None:
        self._is_in_doubt = True
        self._failures += 1
        self._outage.note(error)


_by_alias: dict[str, Copies] = {}


def get_copies() -> Copies:
    """Return the copies in ``CROSSAUTH_CACHE_ALIAS``, one object a process."""
    store = get_store()
    copies = _by_alias.get(store.alias)
    if copies is None or copies.store is not store:
        copies = _by_alias[store.alias] = Copies(store)
    return copies


def _key(digest: str) -> str:
    return f"session:{digest}"


def _place(digest: str) -> tuple[str, str]:
    return _key(digest), bucket(digest)


def _random(length: int) -> str:
    return secrets.token_urlsafe(length)[:length]
