"""Short-lived state over one ``CACHES`` alias."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.utils.module_loading import import_string

from crossauth_django.conf import conf
from crossauth_django.forks import at_fork
from crossauth_django.stores.base import Outcome, Reply, Step, Store, Write

__all__ = [
    "Outcome",
    "Reply",
    "Step",
    "Store",
    "Write",
    "backend_of",
    "engine_of",
    "get_store",
    "joins_transactions",
]

# Cache backend, found anywhere in the configured class' ancestry -> module of its engine.
_ENGINES = {
    "django_redis.cache.RedisCache": "redis",
    "django.core.cache.backends.redis.RedisCache": "redis",
    "django.core.cache.backends.locmem.LocMemCache": "memory",
    "django.core.cache.backends.memcached.PyMemcacheCache": "portable",
    "django.core.cache.backends.memcached.PyLibMCCache": "portable",
    "django.core.cache.backends.db.DatabaseCache": "portable",
}

_stores: dict[str, tuple[Mapping[str, Any], Store]] = {}
_lock = threading.Lock()


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


# What another thread held at the moment of a fork stays held in the child for ever. The
# stores themselves live on: they know what a fork has to leave alone.
at_fork(after_in_child=_new_lock)


def get_store(alias: str | None = None) -> Store:
    """Return the store over ``CACHES[alias]``; ``CROSSAUTH_CACHE_ALIAS`` without one.

    One object a process, made at the first call and made anew when ``CACHES`` is overridden.
    Raise ``ImproperlyConfigured`` when the alias or its backend cannot be used.
    """
    alias = conf.CROSSAUTH_CACHE_ALIAS if alias is None else alias
    # Django reads CACHES anew when it is overridden, so the dictionary's identity tells.
    params = caches.settings.get(alias)
    found = _stores.get(alias)
    if found is not None and found[0] is params:
        return found[1]
    with _lock:
        found = _stores.get(alias)
        if found is not None and found[0] is params:
            return found[1]
        store = _new_store(alias)
        if found is not None:
            found[1].close()
        _stores[alias] = (_params(alias), store)
        return store


def engine_of(alias: str | None = None) -> str | None:
    """Return ``"redis"``, ``"memory"`` or ``"portable"``; None for a backend that is refused.

    Connects to nothing, and imports no driver for the backends that it knows by name. Raise
    ``ImproperlyConfigured`` when there is no such alias, or its backend cannot be imported.
    """
    alias = conf.CROSSAUTH_CACHE_ALIAS if alias is None else alias
    known = _ENGINES.get(_params(alias)["BACKEND"])
    if known is not None:
        return known
    for ancestor in backend_of(alias).__mro__:
        engine = _ENGINES.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if engine is not None:
            return engine
    return None


def joins_transactions(alias: str | None = None) -> bool:
    """Say whether an operation is a part of the caller's transaction: DatabaseCache on SQLite.

    What it set or popped is taken back when the caller rolls back. Connects to nothing.
    """
    alias = conf.CROSSAUTH_CACHE_ALIAS if alias is None else alias
    if not issubclass(backend_of(alias), DatabaseCache):
        return False
    cache: Any = caches[alias]
    return connections[router.db_for_write(cache.cache_model_class)].vendor == "sqlite"


def backend_of(alias: str) -> type[BaseCache]:
    """Return the class behind ``CACHES[alias]``."""
    path = _params(alias)["BACKEND"]
    try:
        backend: type[BaseCache] = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}]['BACKEND'] cannot be imported: {error}"
        ) from error
    return backend


def _params(alias: str) -> Mapping[str, Any]:
    params: Mapping[str, Any] | None = caches.settings.get(alias)
    if params is None:
        raise ImproperlyConfigured(
            f"CACHES has no {alias!r}, which CROSSAUTH_CACHE_ALIAS names."
        )
    return params


def _new_store(alias: str) -> Store:
    engine = engine_of(alias)
    if engine is None:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] is a {backend_of(alias).__qualname__}, which keeps nothing, or "
            "cannot do two things as one. Point CROSSAUTH_CACHE_ALIAS at a Redis cache; "
            "memcached, the database, and LocMemCache within one process, work too."
        )
    try:
        cache = caches.create_connection(alias)
        return _engine_class(engine, cache)(alias, cache, _params(alias))
    except ImportError as error:
        raise ImproperlyConfigured(
            f"The driver of CACHES[{alias!r}] is not installed: {error}"
        ) from error


def _engine_class(engine: str, cache: BaseCache) -> Callable[..., Store]:
    # Imported late: a site pays for no driver but its own.
    if engine == "redis":
        from crossauth_django.stores.redis import RedisStore

        return RedisStore
    if engine == "memory":
        from crossauth_django.stores.memory import MemoryStore

        return MemoryStore
    if isinstance(cache, DatabaseCache):
        from crossauth_django.stores.database import DatabaseStore

        return DatabaseStore
    from crossauth_django.stores.memcached import MemcachedStore

    return MemcachedStore
