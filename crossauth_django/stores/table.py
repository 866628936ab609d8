"""The statements on Django's cache table, the same for PostgreSQL, MySQL, MariaDB and SQLite."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict

from crossauth_django.stores.base import Reply, Step, decide
from crossauth_django.stores.portable import (
    NEVER,
    SLACK_SECONDS,
    attempts,
    expiry_ms,
    is_past,
    now_ms,
)

# In base64 this is a pickle of None, at whose end a decoder stops: whoever reads one of our
# rows through Django's cache sees a miss, and unpickles nothing that a visitor may have sent.
_MARK = "Ti4="
# An expiry in 1970: the row holds no value, only its place.
_NO_VALUE = 1
_PURGED_AT_ONCE = 100
_LOCK_SECONDS = 5
# A worker that is stopped inside its step loses its connection, and with it its locks.
_POSTGRES_LIMITS = (
    f"SELECT set_config('lock_timeout', '{_LOCK_SECONDS}s', true),"
    f" set_config('idle_in_transaction_session_timeout', '{_LOCK_SECONDS}s', true)"
)
_YEAR_9999 = 253_370_764_800


class Row(NamedTuple):
    """A stored value; the version is new with each write and tells any two apart."""

    version: str
    expiry: int
    value: str

    @property
    def live_value(self) -> str | None:
        return None if is_past(self.expiry) else _decode(self.value)


class CacheTable:
    """One cache table on one connection.

    Where a method reads before it writes, it writes first or locks: on SQLite, a transaction
    that has read cannot wait for another writer any more ("database is locked").
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, table: str, cache_alias: str
    ) -> None:
        self._connection = connection
        self._alias = cache_alias
        quote = connection.ops.quote_name
        self._table, self._key = quote(table), quote("cache_key")
        self._value, self._expires = quote("value"), quote("expires")

    def read(self, name: str) -> Row | None:
        """Return the row, expired or not."""
        return self._rows([name]).get(name)

    def values(self, names: Sequence[str]) -> list[str | None]:
        """Return what lives under each name, in one query."""
        return _live_values(self._rows(names), names)

    def put(self, name: str, value: str, life: int | None) -> None:
        """Replace value and lifetime; a lifetime that is over removes the row."""
        if life is not None and life <= 0:
            self._remove(name)
        else:
            self._insert(name, expiry_ms(life), _encode(value), OnConflict.UPDATE)

    def add(self, name: str, value: str, life: int | None) -> bool:
        """Write where nothing lives; True for exactly one of many."""
        encoded, tries = _encode(value), attempts(self._alias)
        is_first = self._insert(name, expiry_ms(life), encoded, OnConflict.IGNORE)
        while not is_first:
            next(tries)
            row = self.read(name)
            if row is not None and row.live_value is not None:
                return False
            is_first = (
                self._replace(name, row, expiry_ms(life), encoded)
                if row is not None
                else self._insert(name, expiry_ms(life), encoded, OnConflict.IGNORE)
            )
        return True

    def take(self, name: str) -> str | None:
        """Remove the row; return its value to exactly one of many."""
        if self._connection.in_atomic_block:
            self._touch([name])
        tries = attempts(self._alias)
        while True:
            next(tries)
            row = self.read(name)
            if row is None:
                return None
            if self._remove(name, row):
                return row.live_value

    def step(
        self, step: Step, names: Sequence[str], args: Sequence[str | int]
    ) -> Reply:
        """Lock the rows in their order, decide and write, in one transaction."""
        can_lock = self._connection.features.has_select_for_update
        tries = attempts(self._alias)
        while True:
            next(tries)
            with transaction.atomic(using=self._connection.alias):
                rows = self._locked(names)
                if not can_lock or len(rows) == len(names):
                    return self._decided(step, names, args, rows)
            # Committed at once, row by row: a transaction that inserts and then locks waits
            # for others that do the same.
            for name in sorted(set(names) - set(rows)):
                self._insert(name, _NO_VALUE, "", OnConflict.IGNORE)

    def purge(self) -> None:
        """Remove some rows that expired; Django itself does it only beyond ``MAX_ENTRIES``."""
        now = self._moment(now_ms() - 1000 * SLACK_SECONDS)
        limit = self._connection.ops.limit_offset_sql(0, _PURGED_AT_ONCE)
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self._key} FROM {self._table} WHERE {self._expires} < %s {limit}",
                [now],
            )
            names = [name for (name,) in cursor.fetchall()]
        if names:
            self._execute(
                f"DELETE FROM {self._table} WHERE {self._among(names)}"
                f" AND {self._expires} < %s",
                [*names, now],
            )

    def _locked(self, names: Sequence[str]) -> dict[str, Row]:
        """Return the rows that exist, closed to others until the transaction ends."""
        vendor = self._connection.vendor
        if vendor == "sqlite":
            self._touch(names)
            return self._rows(names)
        lock = self._connection.ops.for_update_sql()
        if vendor == "postgresql":
            self._execute(_POSTGRES_LIMITS, [])
        # MySQL has no such clause, and gives up by innodb_lock_wait_timeout.
        can_wait = getattr(self._connection, "mysql_is_mariadb", False)
        wait = f"WAIT {_LOCK_SECONDS}" if can_wait else ""
        return self._rows(names, f"ORDER BY {self._key} {lock} {wait}")

    def _decided(
        self,
        step: Step,
        names: Sequence[str],
        args: Sequence[str | int],
        rows: dict[str, Row],
    ) -> Reply:
        now = now_ms()
        reply, writes = decide(step, _live_values(rows, names), now, args)
        for position, (value, life) in writes.items():
            if value is None:
                self._remove(names[position])
            else:
                text = _encode(value)
                self._insert(names[position], now + life, text, OnConflict.UPDATE)
        return reply

    def _touch(self, names: Sequence[str]) -> None:
        self._execute(
            f"UPDATE {self._table} SET {self._expires} = {self._expires}"
            f" WHERE {self._among(names)}",
            names,
        )

    def _rows(self, names: Sequence[str], suffix: str = "") -> dict[str, Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self._key}, {self._value} FROM {self._table}"
                f" WHERE {self._among(names)} {suffix}",
                names,
            )
            return {name: _parsed(text) for name, text in cursor.fetchall()}

    def _insert(
        self, name: str, expiry: int, encoded: str, on_conflict: OnConflict
    ) -> bool:
        ops = self._connection.ops
        insert = ops.insert_statement(on_conflict)
        suffix = ops.on_conflict_suffix_sql(
            [], on_conflict, ["value", "expires"], ["cache_key"]
        )
        return self._execute(
            f"{insert} {self._table} ({self._key}, {self._value}, {self._expires})"
            f" VALUES (%s, %s, %s) {suffix}",
            [name, *self._columns(expiry, encoded)],
        )

    def _replace(self, name: str, seen: Row, expiry: int, encoded: str) -> bool:
        return self._execute(
            f"UPDATE {self._table} SET {self._value} = %s, {self._expires} = %s"
            f" WHERE {self._key} = %s AND {self._value} LIKE %s",
            [*self._columns(expiry, encoded), name, _pattern(seen)],
        )

    def _remove(self, name: str, seen: Row | None = None) -> bool:
        delete = f"DELETE FROM {self._table} WHERE {self._key} = %s"
        if seen is None:
            return self._execute(delete, [name])
        return self._execute(
            f"{delete} AND {self._value} LIKE %s", [name, _pattern(seen)]
        )

    def _execute(self, statement: str, values: Sequence[Any]) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount) > 0

    def _among(self, names: Sequence[str]) -> str:
        return f"{self._key} IN ({', '.join(['%s'] * len(names))})"

    def _columns(self, expiry: int, encoded: str) -> list[Any]:
        text = f"{_MARK}{secrets.token_hex(8)}:{expiry}:{encoded}"
        return [text, self._moment(expiry)]

    def _moment(self, expiry: int) -> Any:
        # Whole seconds, as Django writes them: its culling must not come too early.
        seconds = expiry // 1000 + SLACK_SECONDS
        zone = timezone.utc if settings.USE_TZ else None
        if expiry == NEVER or seconds > _YEAR_9999:
            moment = datetime(9999, 1, 1, tzinfo=zone)
        else:
            moment = datetime.fromtimestamp(seconds, zone)
        return self._connection.ops.adapt_datetimefield_value(moment)


def _live_values(rows: dict[str, Row], names: Sequence[str]) -> list[str | None]:
    return [rows[name].live_value if name in rows else None for name in names]


def _parsed(text: str) -> Row:
    version, expiry, encoded = text.removeprefix(_MARK).split(":")
    return Row(version, int(expiry), encoded)


def _pattern(seen: Row) -> str:
    # The version alone, so that a megabyte is not sent twice; it is new with each write.
    return f"{_MARK}{seen.version}:%"


def _encode(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogatepass")).decode("ascii")


def _decode(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "surrogatepass")
