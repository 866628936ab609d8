"""The cache's copies of session rows, and the visitors' sessions that live there alone.

A row's copy is never written over what its writer did not see. A writer first sees, or puts
there, a mark of its own (the nonce of a copy, or a lease), then reads or writes the row, and then
replaces that mark and nothing else, in one atomic step. Ending a session ends the row first and
then takes away whatever stands there, marks included. So whoever read the row before it ended
finds the mark gone, also after the cache was flushed, and revives nothing.

A server that was away may come back with copies that are out of date. What changed lately is then
forgotten before any copy is believed (``_settle``), and a copy is never believed for longer than
``CROSSAUTH_SESSION_TOUCH_INTERVAL`` without asking the row.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.utils.crypto import constant_time_compare

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.outages import Outage
from crossauth_django.stores import Outcome, Step, Store, Write, engine_of, get_store

R = TypeVar("R")

# The first letter of what stands in the cache.
ROW, VISITOR, LEASE, MOVED = "s", "v", "l", "m"
# How nothing begins.
NO_MARK = "-"

_LEASE_SECONDS = 10
# Requests that were under way with the old key when it was replaced.
_MOVED_SECONDS = 60
# Clocks of workers differ, and a request takes its time.
_MARGIN = timedelta(seconds=60)


class Copy(NamedTuple):
    """What stands in the cache for one session; times in seconds since 1970."""

    kind: str
    nonce: str
    # When the row was last asked, and the last activity written.
    seen: float
    created: float
    # No activity extends a session beyond this.
    ends: float
    # When it is over without further activity, as the row says.
    expires: float
    # The row's ``changed_at`` in microseconds: tells whether the row has changed since.
    version: int
    text: str

    def dump(self, digest: str) -> str:
        """Return what is stored, signed: who writes to the cache cannot make sessions up.

        Small, because there are many: hexadecimal milliseconds, the later moments as distances.
        """
        moments = self.created, self.seen, self.ends, self.expires
        first, *later = (round(1000 * moment) for moment in moments)
        distances = [*(each - first for each in later), self.version - 1000 * first]
        numbers = "|".join(f"{number:x}" for number in (first, *distances))
        body = f"{numbers}|{self.text}"
        signature = _signature(self.kind, digest, body, settings.SECRET_KEY)
        return f"{self.mark}{signature}|{body}"

    @property
    def mark(self) -> str:
        """How this copy begins, and no other."""
        return f"{self.kind}{self.nonce}|"

    @classmethod
    def parse(cls, digest: str, value: str) -> Copy | None:
        """Read what is stored; None for a mark without a copy, and for what others have made."""
        head, _bar, body = value.partition("|")
        kind, nonce = head[:1], head[1:]
        signature, _bar, body = body.partition("|")
        if kind not in (ROW, VISITOR) or not _is_ours(signature, kind, digest, body):
            return None
        *numbers, text = body.split("|", 5)
        first, seen, ends, expires, version = (int(number, 16) for number in numbers)
        return cls(
            kind,
            nonce,
            seen=(first + seen) / 1000,
            created=first / 1000,
            ends=(first + ends) / 1000,
            expires=(first + expires) / 1000,
            version=1000 * first + version,
            text=text,
        )


def _decide(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    mark, new, ttl_ms, forgotten = args
    found = values[0]
    if found is None:
        return Outcome([0], {})
    if found.startswith(mark):
        return Outcome([1], {0: Write(new, int(ttl_ms))})
    return Outcome([0], {0: Write(None)} if found[:1] in forgotten else {})


SWAP = Step("session_swap", _decide)


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

    def read(
        self, digest: str, changed: Callable[[timedelta], list[str]]
    ) -> str | None:
        """Return what stands there; one round trip. Raise ``StoreUnavailableError``.

        ``changed`` answers with the digests of the rows that changed so lately; it is asked
        only when the server may have been away.
        """
        return self._reach(lambda: self._read(digest, changed))

    def lease(self, digest: str) -> str | None:
        """Put a mark where nothing stands; None when something does, or nothing may."""
        mark = f"{LEASE}{_nonce()}|"
        if not self._keeps_rows:
            return None
        try:
            is_ours = self._reach(
                lambda: self.store.add(_key(digest), mark, _LEASE_SECONDS)
            )
        except StoreUnavailableError:
            return None
        return mark if is_ours else None

    def put(self, digest: str, mark: str, copy: Copy, ttl: float) -> Copy:
        """Replace the mark by the row's copy, or leave what another writer knows better.

        Whatever else stands there may be older than the row and is forgotten.
        """
        new = copy._replace(kind=ROW, nonce=_nonce())
        # In the memory of one process no mark is a row's: what a visitor left there goes.
        mark = mark if self._keeps_rows else NO_MARK
        try:
            if self._reach(
                lambda: self._swap(digest, mark, new, ttl, ROW + VISITOR + LEASE)
            ):
                return new
        except StoreUnavailableError:
            pass  # noted, and the row is written
        return new._replace(nonce="")

    def add_visitor(self, digest: str, copy: Copy, ttl: float) -> bool:
        """Begin a session without a row; False when the key is taken. May raise."""
        return self._reach(lambda: self.store.add(_key(digest), copy.dump(digest), ttl))

    def replace_visitor(self, digest: str, copy: Copy, ttl: float) -> bool:
        """Write a session without a row; False when it has ended. May raise."""
        return self._reach(lambda: self._swap(digest, VISITOR, copy, ttl, ""))

    def drop(self, digests: Sequence[str]) -> bool:
        """Forget the copies of rows that have changed or ended, and marks; False when it failed.

        Tried however the server did lately: silence would leave a copy alive. Tried again when
        an answer was lost, by another connection than the one that broke.
        """
        keys = [_key(digest) for digest in digests]
        error = self._delete(keys) and self._delete(keys)
        if error is not None:
            self._note(error)
        return error is None

    def mark_moved(self, digest: str) -> bool:
        """Say for a minute that the session has another key; False when it failed."""
        try:
            self.store.set(_key(digest), MOVED, _MOVED_SECONDS)
        except StoreUnavailableError as error:
            self._note(error)
            return False
        return True

    def _delete(self, keys: Sequence[str]) -> StoreUnavailableError | None:
        try:
            self.store.delete_many(keys)
        except StoreUnavailableError as error:
            return error
        return None

    def _swap(
        self, digest: str, mark: str, copy: Copy, ttl: float, forgotten: str
    ) -> bool:
        ttl_ms = max(1, int(ttl * 1000))
        args = (mark, copy.dump(digest), ttl_ms, forgotten)
        return self.store.step(SWAP, [_key(digest)], args) == [1]

    def _read(
        self, digest: str, changed: Callable[[timedelta], list[str]]
    ) -> str | None:
        if self._is_in_doubt:
            self._settle(changed)
        settled = self._settled
        value = self.store.get(_key(digest))
        if self.store.connections_made != self._connections:
            self._settle(changed)
        elif settled == self._settled:
            return value
        # Another thread may have settled since: what was read before may be out of date.
        return self.store.get(_key(digest))

    def _reach(self, operation: Callable[[], R]) -> R:
        if self._outage.is_silent:
            raise StoreUnavailableError(f"CACHES[{self.store.alias!r}] did not answer")
        try:
            return operation()
        except StoreUnavailableError as error:
            self._note(error)
            raise

    def _settle(self, changed: Callable[[timedelta], list[str]]) -> None:
        """Forget what changed while the server may have been away.

        Copies that were not asked about since then ask the row themselves (a touch).
        """
        failures, connections = self._failures, -1
        while connections != self.store.connections_made:
            # Read first: what changes while connecting is then found, or sent to the server.
            connections = self.store.connections_made
            self.store.delete_many(
                [
                    _key(digest)
                    for digest in changed(
                        conf.CROSSAUTH_SESSION_TOUCH_INTERVAL + _MARGIN
                    )
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


def _is_ours(signature: str, kind: str, digest: str, body: str) -> bool:
    """Say whether this site has signed it, also before ``SECRET_KEY`` was rotated.

    A visitor has no row from which the copy could be made anew.
    """
    return any(
        constant_time_compare(signature, _signature(kind, digest, body, key))
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )


def _signature(kind: str, digest: str, body: str, key: str | bytes) -> str:
    # 128 bits of it.
    found = crypto.keyed_digest("session", f"{kind}|{digest}|{body}", key=key)[:32]
    return base64.b64encode(bytes.fromhex(found)).decode("ascii").rstrip("=")


def _nonce() -> str:
    return secrets.token_urlsafe(9)
