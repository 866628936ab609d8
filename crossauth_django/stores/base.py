"""The contract of every store engine: a few operations, each of which stands alone."""

from __future__ import annotations

import binascii
import functools
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache

P = ParamSpec("P")
R = TypeVar("R")

Reply: TypeAlias = "list[int | str | None]"

# Some 30,000 years: with the time of day added, every server still computes with it.
_LONGEST_MS = 10**15


class Write(NamedTuple):
    """What a step leaves under one key: a value with a lifetime, or with None nothing.

    A value's lifetime is positive, like that of Redis' ``SET PX``.
    """

    value: str | None
    ttl_ms: int = 0


class Outcome(NamedTuple):
    """What the Python twin of a script decides: its answer, and writes by the key's position."""

    reply: Reply
    writes: dict[int, Write]


# (values in the order of the keys, now in milliseconds since 1970, arguments as text) -> Outcome
Twin: TypeAlias = Callable[[Sequence["str | None"], int, Sequence[str]], Outcome]


@dataclass(frozen=True)
class Step:
    """One atomic read-modify-write: a Lua script for Redis and its twin for the other engines.

    ``script`` names a file in ``stores/scripts/``, without ``.lua``; it comes ``after`` others, with
    what several have in common. It sees ``KEYS``, ``ARGV`` and ``now``, the server's clock in
    milliseconds, reads with ``GET`` or ``MGET``, writes with ``SET key value PX ttl`` or ``DEL`` and
    returns a flat array of integers and strings. ``twin`` decides the same from the same values;
    one stateful test holds the two against each other.
    """

    script: str
    twin: Twin
    after: tuple[str, ...] = ()

    @functools.cached_property
    def source(self) -> str:
        """The text of the script."""
        from importlib import resources  # a dozen modules, which start-up does not need

        scripts = resources.files(__package__).joinpath("scripts")
        paths = [scripts.joinpath(f"{name}.lua") for name in (*self.after, self.script)]
        return "".join(path.read_text("utf-8") for path in paths)


class Store(ABC):
    """Short-lived state over one ``CACHES`` alias; ``get_store`` makes it.

    Keys are any text; they are stored as digests, under the alias' ``KEY_PREFIX``, ``VERSION``
    and ``KEY_FUNCTION``. Values are any text up to the server's limit, the empty string included;
    text that cannot be stored as it is raises ``ValueError`` and stores nothing. ``ttl`` is in
    seconds, enforced, rounded up and never down; ``ttl <= 0`` deletes; None means until deleted.
    A server that does not answer raises ``StoreUnavailableError``, never "missing".

    ``slot`` puts a key beside the others of the same slot on a Redis Cluster (a hash tag), so
    that one ``step`` or ``get_many`` may span them; it is part of the key's identity, on every
    engine.

    A store is shared by all threads of a process and holds no state between two calls. The
    async twins do the same on a thread, so that the event loop goes on meanwhile.
    """

    def __init__(self, alias: str, cache: BaseCache) -> None:
        self.alias = alias
        # Makes names only, or belongs to this store alone: Django closes its own at will.
        self._cache = cache
        # Grows with every connection made, by engines that keep connections open. A new one may
        # mean that the server was away, and that what was sent to it meanwhile is lost.
        self.connections_made = 0

    @abstractmethod
    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        """Replace value and lifetime."""

    @abstractmethod
    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        """Set only if the key is missing or expired; True for exactly one of many callers.

        With ``ttl <= 0`` nothing is stored, and the answer says whether the key was free.
        """

    @abstractmethod
    def get(self, key: str, *, slot: str = "") -> str | None:
        """Return the value, or None when the key is missing or expired."""

    @abstractmethod
    def get_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        """Return the values in the order of the keys, None for each that is missing or expired.

        The keys differ from each other; several need a ``slot``. Each is read as ``get`` reads
        it, in as few round trips as the server allows; on memcached somebody may write between
        two of them.
        """

    @abstractmethod
    def delete(self, key: str, *, slot: str = "") -> bool:
        """Forget the key and say whether a live value was there; a missing key is no error."""

    def delete_many(self, places: Sequence[tuple[str, str]]) -> None:
        """Forget keys, given with their slots, in as few round trips as the server allows.

        Each for itself: some may be gone when it fails.
        """
        for key, slot in places:
            self.delete(key, slot=slot)

    @abstractmethod
    def pop(self, key: str, *, slot: str = "") -> str | None:
        """Return the value to exactly one caller, across processes, and forget it.

        A ``set`` that races with it is either what was popped or still there afterwards.
        """

    @abstractmethod
    def step(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        """Run one read-modify-write over ``keys``, alone: no other operation comes in between.

        The keys differ from each other; several need a ``slot``. Raise ``StoreUnavailableError``
        when it is not known whether the step took effect.
        """

    async def aset(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        await self._in_thread(self.set)(key, value, ttl, slot=slot)

    async def aadd(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        return await self._in_thread(self.add)(key, value, ttl, slot=slot)

    async def aget(self, key: str, *, slot: str = "") -> str | None:
        return await self._in_thread(self.get)(key, slot=slot)

    async def aget_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        return await self._in_thread(self.get_many)(keys, slot=slot)

    async def adelete(self, key: str, *, slot: str = "") -> bool:
        return await self._in_thread(self.delete)(key, slot=slot)

    async def apop(self, key: str, *, slot: str = "") -> str | None:
        return await self._in_thread(self.pop)(key, slot=slot)

    async def astep(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        return await self._in_thread(self.step)(step, keys, args, slot=slot)

    def close(self) -> None:  # noqa: B027  (most engines hold nothing)
        """Let go of the connections, because the alias was configured anew."""

    def _in_thread(self, function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
        return sync_to_async(function, thread_sensitive=False)

    def _name(self, key: str, slot: str) -> str:
        return str(self._cache.make_key(stored_name(key, slot)))

    def _distinct(self, keys: Sequence[str], slot: str) -> Sequence[str]:
        if len(keys) > 1 and not slot:
            raise ValueError("Several keys need a slot.")
        if len(set(keys)) != len(keys):
            raise ValueError("The keys must differ from each other.")
        return keys


def stored_name(key: str, slot: str = "") -> str:
    """Return what stands in the cache for ``key``: a part of a SHA-256, never the key.

    192 bits of it, or 120 in a slot, where the names are many and small: with Django's default
    prefix, 29 characters are the most that Redis keeps in 32 bytes. The slot is a part of what
    is digested. Its tag in front only chooses the place on a cluster, so it may be short, and
    being a digest it may come from any text.
    """
    if not slot:
        return f"crossauth:{_digest(_bytes(key), 24)}"
    tag, place = _place(slot)
    return f"{tag}{_digest(place + _bytes(key), 15)}"


def lifetime_ms(ttl: float | None) -> int | None:
    """Return a lifetime in whole milliseconds, rounded up; None is for ever."""
    if ttl is None or ttl == math.inf:
        return None
    # Bounded before it is rounded: an infinite one, or one beyond floats, has no whole number.
    milliseconds = min(ttl * 1000, _LONGEST_MS)
    if math.isnan(milliseconds):
        raise ValueError("ttl is not a number")
    return math.ceil(max(milliseconds, -1))


def decide(
    step: Step, values: Sequence[str | None], now: int, args: Sequence[str | int]
) -> Outcome:
    """Run the twin of a step; refuse what Redis refuses too, before anything is written."""
    outcome = step.twin(values, now, [str(arg) for arg in args])
    for write in outcome.writes.values():
        if write.value is not None and write.ttl_ms <= 0:
            raise ValueError("A step writes values with a lifetime.")
    return outcome


# More than there are: each part of the sessions is one.
@functools.lru_cache(maxsize=512)
def _place(slot: str) -> tuple[str, bytes]:
    """Return a slot's tag, and what stands before each key of it where that is digested."""
    place = _bytes(slot)
    return f"{{{_digest(place, 3)}}}", len(place).to_bytes(4, "big") + place


def _digest(data: bytes, size: int) -> str:
    digest = hashlib.sha256(data).digest()[:size]
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
