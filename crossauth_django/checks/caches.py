"""The cache behind the alias must be shared, must keep what it is given, and must say when it is down."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import caches
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from crossauth_django.checks.paths import ancestry, load
from crossauth_django.checks.types import fault
from crossauth_django.conf import conf

# By name, so that nothing is imported that this site does not use; subclasses are found too.
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
SUPPORTED = (
    DJANGO_REDIS,
    "django.core.cache.backends.redis.RedisCache",
    PYMEMCACHE,
    "django.core.cache.backends.memcached.PyLibMCCache",
    DATABASE,
    LOCMEM,
)
REFUSED = (
    "django.core.cache.backends.filebased.FileBasedCache",
    "django.core.cache.backends.dummy.DummyCache",
)

# Fewer entries than this and a burst of made-up names pushes live counters and tokens out.
_ENOUGH_ENTRIES = 10_000

AT_RISK = (
    "single-use tokens and OAuth state (a link or a sign-in that reaches another worker fails)",
    "lockout and limit counters (each worker counts for itself, and a restart forgets)",
    "session copies (a session that was ended lives on in other workers)",
)


def is_in_memory() -> bool:
    """Say whether the alias keeps its entries in this process; connects to nothing."""
    path = _configuration().get("BACKEND")
    if not isinstance(path, str) or path in {*SUPPORTED, *REFUSED} - {LOCMEM}:
        return False
    return _kind() == LOCMEM


def check_alias(**kwargs: Any) -> list[checks.CheckMessage]:
    """E001: nothing can be kept under an alias that CACHES lacks."""
    alias = conf.CROSSAUTH_CACHE_ALIAS
    if fault("CROSSAUTH_CACHE_ALIAS") or alias in settings.CACHES:
        return []
    others = ", ".join(map(repr, settings.CACHES))
    start = f"Set it to one of {others}, or add" if others else "Add"
    return [
        checks.Error(
            f"CROSSAUTH_CACHE_ALIAS is {alias!r}, which CACHES does not have.",
            hint=f"{start} CACHES[{alias!r}].",
            id="crossauth_django.E001",
        )
    ]


def check_backend(**kwargs: Any) -> list[checks.CheckMessage]:
    """E002, E003: a cache whose add() is not atomic, that keeps nothing, or that nobody knows."""
    path = _configuration().get("BACKEND")
    if not _configuration() or _kind() in SUPPORTED:
        return []
    hint = (
        f"Set CACHES[{conf.CROSSAUTH_CACHE_ALIAS!r}]['BACKEND'] to {DJANGO_REDIS!r} "
        f"(pip install django-redis) or to {DATABASE!r} (and run manage.py createcachetable)."
    )
    if _kind() in REFUSED:
        reason = "cannot count or hand out a value once: its add() and incr() are not atomic, or it keeps nothing."
        return [checks.Error(f"{path} {reason}", hint=hint, id="crossauth_django.E002")]
    if load(path) is None:
        reason = "cannot be imported."
    else:
        reason = "is no cache that crossauth_django knows how to use without races."
    return [checks.Error(f"{path} {reason}", hint=hint, id="crossauth_django.E003")]


def check_workers(**kwargs: Any) -> list[checks.CheckMessage]:
    """E004: several workers are asked for, and each would have a cache of its own."""
    workers = _workers()
    if settings.DEBUG or workers < 2 or not is_in_memory():
        return []
    return [
        checks.Error(
            f"{workers} workers would each keep their own {'; '.join(AT_RISK)}.",
            hint=f"Point CACHES[{conf.CROSSAUTH_CACHE_ALIAS!r}] at Redis "
            f"({DJANGO_REDIS!r}), or run one worker: unset WEB_CONCURRENCY and "
            "GUNICORN_CMD_ARGS.",
            id="crossauth_django.E004",
        )
    ]


def check_memory(**kwargs: Any) -> list[checks.CheckMessage]:
    """W001, with --deploy: the start-up log says it to everybody else."""
    if not conf.CROSSAUTH_WARN_ON_MEMORY_BACKEND or not is_in_memory():
        return []
    return [
        checks.Warning(
            f"CACHES[{conf.CROSSAUTH_CACHE_ALIAS!r}] is in the memory of one process, and "
            f"with it {'; '.join(AT_RISK)}.",
            hint=f"Set its BACKEND to {DJANGO_REDIS!r}, or, if the site will always run as "
            "one process, CROSSAUTH_WARN_ON_MEMORY_BACKEND = False.",
            id="crossauth_django.W001",
        )
    ]


def check_culling(**kwargs: Any) -> list[checks.CheckMessage]:
    """W002: whoever makes enough keys flushes everybody's counters and tokens."""
    return _culling() if _kind() == DATABASE else []


def check_memory_culling(**kwargs: Any) -> list[checks.CheckMessage]:
    """W002, with --deploy: on a developer's machine it is noise."""
    return _culling() if _kind() == LOCMEM else []


def check_ignored_errors(**kwargs: Any) -> list[checks.CheckMessage]:
    """W003: a server that is down looks like an empty one."""
    kind, options = _kind(), _options()
    if kind == DJANGO_REDIS:
        everywhere = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
        option, ignores = (
            "IGNORE_EXCEPTIONS",
            options.get("IGNORE_EXCEPTIONS", everywhere),
        )
    elif kind == PYMEMCACHE:
        option, ignores = "ignore_exc", options.get("ignore_exc", False)
    else:
        return []
    if not ignores:
        return []
    alias = conf.CROSSAUTH_CACHE_ALIAS
    return [
        checks.Warning(
            f"CACHES[{alias!r}] hides that its server is down: what else reads this alias "
            "takes an outage for an empty cache.",
            hint=f"Set CACHES[{alias!r}]['OPTIONS'][{option!r}] = False, or give "
            "crossauth_django an alias of its own by CROSSAUTH_CACHE_ALIAS.",
            id="crossauth_django.W003",
        )
    ]


def check_sqlite(**kwargs: Any) -> list[checks.CheckMessage]:
    """W004: on SQLite a second writer would wait for the first, so the cache joins it."""
    connection = joined()
    if connection is None:
        return []
    alias = conf.CROSSAUTH_CACHE_ALIAS
    always = connection.settings_dict["ATOMIC_REQUESTS"]
    requests = " ATOMIC_REQUESTS makes every request such a transaction."
    return [
        checks.Warning(
            f"CACHES[{alias!r}] is a table in SQLite: inside a transaction that rolls back, a "
            "spent token comes back to life and a wrong password is not counted."
            f"{requests if always else ''}",
            hint=f"Set CACHES[{alias!r}]['BACKEND'] to {DJANGO_REDIS!r}, or keep the cache's "
            "table in PostgreSQL, MySQL or MariaDB.",
            id="crossauth_django.W004",
        )
    ]


def joined() -> BaseDatabaseWrapper | None:
    """Return the connection whose transactions the alias takes part in: that of a table in SQLite."""
    if _kind() != DATABASE:
        return None
    cache: Any = caches[conf.CROSSAUTH_CACHE_ALIAS]
    database = router.db_for_write(cache.cache_model_class) or "default"
    connection = connections[database]
    return connection if connection.vendor == "sqlite" else None


CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_alias,
    check_backend,
    check_workers,
    check_culling,
    check_ignored_errors,
    check_sqlite,
)
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_memory,
    check_memory_culling,
)


def _configuration() -> dict[str, Any]:
    if fault("CROSSAUTH_CACHE_ALIAS"):
        return {}
    found: dict[str, Any] = settings.CACHES.get(conf.CROSSAUTH_CACHE_ALIAS, {})
    return found


def _options() -> dict[str, Any]:
    options: dict[str, Any] = _configuration().get("OPTIONS", {})
    return options


def _kind() -> str | None:
    """Return which backend that we know this is, or is a subclass of."""
    known = {*SUPPORTED, *REFUSED}
    names = ancestry(_configuration().get("BACKEND"))
    return next((name for name in names if name in known), None)


def _culling() -> list[checks.CheckMessage]:
    # Read where BaseCache reads it; opening the cache is not needed.
    configuration = _configuration()
    default = _options().get("MAX_ENTRIES", 300)
    entries = _number(configuration.get("max_entries", default)) or 300
    if entries >= _ENOUGH_ENTRIES:
        return []
    alias = conf.CROSSAUTH_CACHE_ALIAS
    return [
        checks.Warning(
            f"CACHES[{alias!r}] throws entries away from {entries} on, live ones included: "
            "somebody who makes up names can flush lockout counters and tokens.",
            hint=f"Set CACHES[{alias!r}]['OPTIONS']['MAX_ENTRIES'] = 1_000_000.",
            id="crossauth_django.W002",
        )
    ]


def _workers() -> int:
    """Return how many workers gunicorn or uvicorn would start, as far as the environment says."""
    import argparse
    import shlex

    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False
    )
    parser.add_argument("-w", "--workers")
    try:
        arguments = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
        asked = parser.parse_known_args(arguments)[0].workers
    except (ValueError, argparse.ArgumentError):
        asked = None
    # gunicorn takes its own settings first, and WEB_CONCURRENCY as the default.
    return _number(asked or os.environ.get("WEB_CONCURRENCY")) or 1


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
