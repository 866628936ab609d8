"""Ending all sessions of a user at once: one row, however many they are."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import Q

from crossauth_django.fields import AwareDateTimeField, utc_now
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.endings import last_end
from crossauth_django.managers.transactions import (
    after_commit,
    in_transaction,
    until_done,
)

# The rows are counted in the statement that ends them. What has timed out is ended, too, so that no
# save in flight revives it. The user is locked, as by a sign-in: the ends of one user are committed
# in the order of their numbers, and whoever begins after one, or is spared by it, has seen all
# before it. SQLite has one writer at a time.
_STATEMENT = """\
INSERT INTO {ends} (user_id, ended_at, reason, sessions)
SELECT %s, %s, %s, found.active FROM (
  SELECT COUNT(*) AS going_on, COUNT(CASE WHEN expires_at >= %s THEN 1 END) AS active
  FROM {rows} WHERE user_id = %s AND revoked_at IS NULL{but_spared}
  AND began_after >= COALESCE((SELECT MAX(id) FROM {ends} WHERE user_id = %s), 0)
) found{locked} WHERE found.going_on > 0"""
_LOCKED = ", (SELECT {pk} FROM {users} WHERE {pk} = %s {lock}) locked"


def end_all(rows: Any, user_id: Any, reason: str, spared: Collection[str]) -> int:
    """End all that goes on of a user but the digests that are spared; return how many.

    One statement; another one takes the spared past the end. What has timed out ended then and
    by that, and is not counted; of ends at one moment several may count the same. The copies are
    believed no more once that is committed.
    """
    using = rows.db
    if spared:
        work = functools.partial(_end_others, rows, user_id, reason, spared)
        number, sessions = in_transaction(work, using=using)
    else:
        write = functools.partial(_write, using, user_id, reason, spared)
        number, sessions = until_done(write, using=using)
    if number:
        after_commit(lambda: get_copies().disbelieve([user_id]), using=using)
    return sessions


def _end_others(
    rows: Any, user_id: Any, reason: str, spared: Collection[str]
) -> tuple[int, int]:
    number, sessions = _write(rows.db, user_id, reason, spared)
    if number:
        went_on = Q(revoked_at=None, began_after__gte=last_end(user_id, before=number))
        others = rows.filter(went_on, user_id=user_id, token_hash__in=spared)
        others.update(began_after=number)
    return number, sessions


def _write(
    using: str, user_id: Any, reason: str, spared: Collection[str]
) -> tuple[int, int]:
    """Return the end's number, or 0 where nothing goes on, and how many were signed in."""
    connection = connections[using]
    ends = apps.get_model("crossauth_django", "SessionsEnd")
    statement = _statement(connection, ends, len(spared))
    user = get_user_model()._meta.pk.get_db_prep_value(user_id, connection)
    now = AwareDateTimeField().get_db_prep_value(utc_now(), connection)
    parameters = [user, now, reason, now, user, *spared, user]
    if connection.features.has_select_for_update:
        parameters.append(user)
    with connection.cursor() as cursor:
        if _returns_inserted(connection):
            cursor.execute(f"{statement} RETURNING id, sessions", parameters)
            number, sessions = cursor.fetchone() or (0, 0)
            return number, sessions
        cursor.execute(statement, parameters)
        number = cursor.lastrowid if cursor.rowcount else 0
    found = ends._base_manager.using(using).filter(pk=number)
    return number, found.values_list("sessions", flat=True).first() or 0


def _returns_inserted(connection: Any) -> bool:
    """Say whether it has INSERT ... SELECT ... RETURNING; MySQL has not, nor has an old SQLite."""
    is_able: bool = connection.features.can_return_columns_from_insert
    return is_able and connection.vendor != "mysql"


def _statement(connection: Any, ends: Any, spared: int) -> str:
    rows, users = apps.get_model("crossauth_django", "UserSession"), get_user_model()
    quote, features = connection.ops.quote_name, connection.features
    places, locked = ", ".join(["%s"] * spared), ""
    if features.has_select_for_update:
        # Where it can be told apart, as an UPDATE locks that changes no key.
        is_weaker = features.has_select_for_no_key_update
        locked = _LOCKED.format(
            users=quote(users._meta.db_table),
            pk=quote(users._meta.pk.column),
            lock=connection.ops.for_update_sql(no_key=is_weaker),
        )
    return _STATEMENT.format(
        ends=quote(ends._meta.db_table),
        rows=quote(rows._meta.db_table),
        but_spared=f" AND token_hash NOT IN ({places})" if spared else "",
        locked=locked,
    )
