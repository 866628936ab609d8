"""DatabaseCache: rows of Django's cache table, exact across processes.

A single-key operation is one statement or two that each stand alone; a step is a short
transaction that locks its rows, in the order of their names, so that no two steps wait for each
other. Row locks and not mutexes made by ``add()``: the server lets go of them when a worker dies,
at once and not after a lifetime, and what a worker writes after it lost its lock is rolled back,
where a mutex that ran out would let it overwrite. Nothing is read from a replica. Culling, ``clear()`` and
``createcachetable`` stay Django's; nothing that lives is ever culled from here.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache
from django.db import DatabaseError, DataError, InterfaceError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from crossauth_django.eventloop import is_loop_running, on_worker
from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.stores.base import P, R, Reply, Step, Store, lifetime_ms
from crossauth_django.stores.portable import attempts
from crossauth_django.stores.table import CacheTable

_PURGE_EVERY = 64
# The column as createcachetable makes it.
_LONGEST_NAME = 255

# The server gave up on one of two that waited for each other, or met a newer row than the
# one it had seen: nothing has happened, and the same may be asked again.
_LOST_RACES = {"40001", "40P01", 1020, 1213}
# Others hold the rows for too long, which SQLite says in words.
_HELD = {"55P03", 1205, "database is locked"}
_NO_TABLE = {"42P01", 1146}


class DatabaseStore(Store):
    """On a server apart from the caller's transaction; on SQLite within it.

    The caller's transaction may roll back without reviving what was popped or taking back what
    was set: inside one, the work goes to another thread's connection. SQLite knows one writer
    at a time, so a second connection would wait for the caller for ever: there the operation
    is a part of the caller's transaction.
    """

    def __init__(self, alias: str, cache: BaseCache, params: Mapping[str, Any]) -> None:
        super().__init__(alias, cache)
        self._writes = itertools.count(1)

    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        name, life = self._name(key, slot), lifetime_ms(ttl)
        self._run(lambda table: table.put(name, value, life))
        self._tidy()

    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        name, life = self._name(key, slot), lifetime_ms(ttl)
        if life is not None and life <= 0:
            return self.get(key, slot=slot) is None
        is_first = self._run(lambda table: table.add(name, value, life))
        self._tidy()
        return is_first

    def get(self, key: str, *, slot: str = "") -> str | None:
        name = self._name(key, slot)
        row = self._run(lambda table: table.read(name))
        return None if row is None else row.live_value

    def get_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        return self._run(lambda table: table.values(names)) if names else []

    def delete(self, key: str, *, slot: str = "") -> bool:
        return self.pop(key, slot=slot) is not None

    def pop(self, key: str, *, slot: str = "") -> str | None:
        name = self._name(key, slot)
        return self._run(lambda table: table.take(name))

    def step(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        reply = self._run(lambda table: table.step(step, names, args))
        self._tidy()
        return reply

    def _name(self, key: str, slot: str) -> str:
        name = super()._name(key, slot)
        # MySQL's INSERT IGNORE would cut it, and one key would be another's.
        if len(name) > _LONGEST_NAME:
            raise ValueError(
                f"CACHES[{self.alias!r}]: KEY_PREFIX or KEY_FUNCTION makes names longer than"
                f" {_LONGEST_NAME} characters, which the cache table cannot store."
            )
        return name

    def _in_thread(self, function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
        # The thread of Django's own async database calls: its connections and, on SQLite,
        # its transaction.
        return sync_to_async(function, thread_sensitive=True)

    def _tidy(self) -> None:
        if next(self._writes) % _PURGE_EVERY:
            return
        try:
            self._run(CacheTable.purge)
        except StoreUnavailableError:
            pass  # What was asked is done; a later write will tidy up.

    def _run(self, work: Callable[[CacheTable], R]) -> R:
        alias = router.db_for_write(self._model)
        if is_loop_running() or _stands_apart(connections[alias]):
            return on_worker(lambda: self._try(alias, work))
        return self._try(alias, work)

    def _try(self, alias: str, work: Callable[[CacheTable], R]) -> R:
        connection = connections[alias]
        table = CacheTable(connection, self._model._meta.db_table, self.alias)
        tries = attempts(self.alias)
        while True:
            next(tries)
            try:
                return work(table)
            except DataError as error:
                raise ValueError("The database cannot store this value.") from error
            except (DatabaseError, InterfaceError) as error:
                if not connection.in_atomic_block and _is_lost_race(error):
                    continue
                if _code(error) in _HELD:
                    raise StoreBusyError(f"CACHES[{self.alias!r}]: {error}") from error
                if not connection.in_atomic_block:
                    # It may be broken; the next call finds a new one.
                    connection.close()
                hint = (
                    " (run manage.py createcachetable)" if _lacks_table(error) else ""
                )
                raise StoreUnavailableError(
                    f"CACHES[{self.alias!r}]: {error}{hint}"
                ) from error

    @property
    def _model(self) -> Any:
        # What Django's DatabaseCache shows to the database routers.
        return self._cache.cache_model_class  # type: ignore[attr-defined]


def _stands_apart(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor == "sqlite":
        return False
    if connection.connection is None:
        # Not connected yet, and asking for more would connect.
        return not connection.settings_dict["AUTOCOMMIT"]
    return connection.in_atomic_block or not connection.get_autocommit()


def _is_lost_race(error: Exception) -> bool:
    return _code(error) in _LOST_RACES


def _lacks_table(error: Exception) -> bool:
    # SQLite has no number for it.
    return _code(error) in _NO_TABLE or "no such table" in str(error)


def _code(error: Exception) -> Any:
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return code or next(iter(getattr(cause, "args", ())), None)
