"""Ending all sessions of a user at once: one row, however many they are.

In SQL, because building these queries would take longer than running them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections

from crossauth_django.fields import AwareDateTimeField, utc_now
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.tables import returns_rows
from crossauth_django.managers.transactions import (
    after_commit,
    in_transaction,
    until_done,
)

# The rows are counted in the statement that ends them. What has timed out is ended, too, so that no
# save in flight revives it. The user is locked, as by a sign-in: the ends of one user are committed
# in the order of their numbers, and whoever begins after one, or is spared by it, has seen all
# before it. SQLite has one writer at a time.
_END = """\
INSERT INTO {ends} (user_id, ended_at, reason, sessions)
SELECT %s, %s, %s, found.active FROM (
  SELECT COUNT(*) AS going_on, COUNT(CASE WHEN expires_at >= %s THEN 1 END) AS active
  FROM {rows} WHERE user_id = %s AND revoked_at IS NULL{but_spared}
  AND began_after >= COALESCE((SELECT MAX(id) FROM {ends} WHERE user_id = %s), 0)
) found{locked} WHERE found.going_on > 0"""
_BUT_SPARED = " AND token_hash NOT IN ({digests})"
_LOCKED = ", (SELECT {pk} FROM {users} WHERE {pk} = %s {lock}) locked"

# Of the spared only what had not ended before.
_SPARE = """\
UPDATE {rows} SET began_after = %s
WHERE user_id = %s AND token_hash IN ({digests}) AND revoked_at IS NULL
AND began_after >= COALESCE((SELECT MAX(id) FROM {ends} WHERE user_id = %s AND id < %s), 0)"""

# Where the insertion does not return it.
_COUNTED = "SELECT sessions FROM {ends} WHERE id = %s"

_ENDED_AT = AwareDateTimeField()


def end_all(using: str, user_id: Any, reason: str, spared: Collection[str]) -> int:
    """End all that goes on of a user but the digests that are spared; return how many.

    One statement; another one takes the spared past the end. What has timed out ended then and
    by that, and is not counted; of ends at one moment several may count the same. The copies are
    believed no more once that is committed.
    """
    end = functools.partial(_end, using, user_id, reason, spared)
    if spared:
        number, sessions = in_transaction(end, using=using)
    else:
        number, sessions = until_done(end, using=using)
    if number:
        after_commit(lambda: get_copies().disbelieve([user_id]), using=using)
    return sessions


def _end(
    using: str, user_id: Any, reason: str, spared: Collection[str]
) -> tuple[int, int]:
    """Return the end's number, or 0 where nothing goes on, and how many were signed in."""
    connection, users = connections[using], get_user_model()._meta
    names = _names(connection, len(spared))
    user = users.pk.get_db_prep_value(user_id, connection)
    now = _ENDED_AT.get_db_prep_value(utc_now(), connection)
    parameters = [user, now, reason, now, user, *spared, user]
    locked = but_spared = ""
    if connection.features.has_select_for_update:
        locked = _LOCKED.format(**names)
        parameters.append(user)
    if spared:
        but_spared = _BUT_SPARED.format(**names)
    statement = _END.format(**names, locked=locked, but_spared=but_spared)
    with connection.cursor() as cursor:
        if returns_rows(connection):
            cursor.execute(f"{statement} RETURNING id, sessions", parameters)
            number, sessions = cursor.fetchone() or (0, 0)
        else:
            cursor.execute(statement, parameters)
            number = cursor.lastrowid if cursor.rowcount else 0
            cursor.execute(_COUNTED.format(**names), [number])
            (sessions,) = cursor.fetchone() or (0,)
        if number and spared:
            parameters = [number, user, *spared, user, number]
            cursor.execute(_SPARE.format(**names), parameters)
    return number, sessions


def _names(connection: Any, spared: int) -> dict[str, str]:
    quote, users = connection.ops.quote_name, get_user_model()._meta
    ends, rows = (
        apps.get_model("crossauth_django", name)._meta.db_table
        for name in ("SessionsEnd", "UserSession")
    )
    names = {"ends": ends, "rows": rows, "users": users.db_table, "pk": users.pk.column}
    # As an UPDATE locks that changes no key, where that can be said.
    lock = connection.ops.for_update_sql(
        no_key=connection.features.has_select_for_no_key_update
    )
    digests = ", ".join(["%s"] * spared)
    quoted = {name: quote(text) for name, text in names.items()}
    return {**quoted, "lock": lock, "digests": digests}
