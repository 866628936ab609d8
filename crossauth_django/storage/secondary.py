"""Short-lived text over the configured cache: the ``SecondaryStorage`` protocol."""

from __future__ import annotations

from crossauth_django.conf import conf
from crossauth_django.stores import get_store


class SecondaryStorage:
    """Keeps OAuth state, codes and the like under any key, for as long as ``ttl`` says.

    ``ttl`` is in seconds, enforced; 0 and less deletes. Without one a value stays until it is
    deleted, unless ``CROSSAUTH_SECONDARY_STORAGE_MAX_TTL`` bounds it. A cache that does not
    answer raises ``StoreUnavailableError``. Instances hold nothing: make as many as you like, on
    any thread, and call them on a running event loop too; the methods with an ``a`` wait there
    without holding it up.
    """

    def set(self, key: str, value: str, ttl: int | None = None) -> None:
        """Replace value and lifetime."""
        get_store().set(_key(key), value, _bounded(ttl))

    def get(self, key: str) -> str | None:
        """Return the value, or None when the key is missing or expired."""
        return get_store().get(_key(key))

    def delete(self, key: str) -> None:
        """Forget the key; a missing one is no error."""
        get_store().delete(_key(key))

    def pop(self, key: str) -> str | None:
        """Return the value to exactly one caller, across processes, and forget it."""
        return get_store().pop(_key(key))

    async def aset(self, key: str, value: str, ttl: int | None = None) -> None:
        await get_store().aset(_key(key), value, _bounded(ttl))

    async def aget(self, key: str) -> str | None:
        return await get_store().aget(_key(key))

    async def adelete(self, key: str) -> None:
        await get_store().adelete(_key(key))

    async def apop(self, key: str) -> str | None:
        return await get_store().apop(_key(key))


def _key(key: str) -> str:
    return f"secondary:{key}"


def _bounded(ttl: float | None) -> float | None:
    longest = conf.CROSSAUTH_SECONDARY_STORAGE_MAX_TTL
    if ttl is None and longest is not None:
        return longest.total_seconds()
    return ttl
