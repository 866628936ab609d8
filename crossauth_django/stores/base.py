"""The contract of every store engine: six operations, each one atomic step."""

from __future__ import annotations

import base64
import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple, TypeAlias

Reply: TypeAlias = "list[int | str | None]"


class Write(NamedTuple):
    """What a step leaves under one key: a value with a lifetime, or with None nothing."""

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

    ``script`` names a file in ``stores/scripts/``, without ``.lua``. It sees ``KEYS``, ``ARGV``
    and ``now``, the server's clock in milliseconds, reads with ``GET``, writes with ``SET key
    value PX ttl`` or ``DEL`` and returns a flat array of integers and strings. ``twin`` decides
    the same from the same values; one stateful test holds the two against each other.
    """

    script: str
    twin: Twin

    @property
    def source(self) -> str:
        """The text of the script."""
        return _read_script(self.script)


class Store(ABC):
    """Short-lived state over one ``CACHES`` alias.

    Keys are any text; they are stored as digests, under the alias' ``KEY_PREFIX``, ``VERSION``
    and ``KEY_FUNCTION``. Values are any text up to the server's limit, the empty string included;
    text that cannot be stored as it is raises ``ValueError`` and stores nothing. ``ttl`` is in
    seconds, enforced, rounded up and never down; ``ttl <= 0`` deletes; None means until deleted.
    A server that does not answer raises ``StoreUnavailableError``, never "missing".

    ``slot`` puts a key beside the others of the same slot on a Redis Cluster (a hash tag), so
    that one ``step`` may span them; it is part of the key's identity, on every engine.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @abstractmethod
    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        """Replace value and lifetime."""

    @abstractmethod
    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        """Set only if the key is missing or expired; True for exactly one of many callers."""

    @abstractmethod
    def get(self, key: str, *, slot: str = "") -> str | None:
        """Return the value, or None when the key is missing or expired."""

    @abstractmethod
    def delete(self, key: str, *, slot: str = "") -> bool:
        """Forget the key and say whether a live value was there; a missing key is no error."""

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

        Several keys need a ``slot``. Raise ``StoreUnavailableError`` when it is not known
        whether the step took effect.
        """

    @abstractmethod
    async def aset(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None: ...

    @abstractmethod
    async def aadd(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool: ...

    @abstractmethod
    async def aget(self, key: str, *, slot: str = "") -> str | None: ...

    @abstractmethod
    async def adelete(self, key: str, *, slot: str = "") -> bool: ...

    @abstractmethod
    async def apop(self, key: str, *, slot: str = "") -> str | None: ...

    @abstractmethod
    async def astep(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply: ...


def stored_name(key: str, slot: str = "") -> str:
    """Return what stands in the cache for ``key``: 192 bits of its SHA-256, never the key."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:24]
    tag = f"{{{slot}}}" if slot else ""
    return f"crossauth:{tag}{base64.urlsafe_b64encode(digest).decode('ascii')}"


@functools.cache
def _read_script(name: str) -> str:
    return (
        resources.files(__package__)
        .joinpath("scripts").joinpath(f"{name}.lua")
        .read_text("utf-8")
    )
