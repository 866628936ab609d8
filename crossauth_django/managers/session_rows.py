"""Conditions on rows of sessions, and the statements that end many of them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models import Q, Value
from django.db.models.sql import UpdateQuery

from crossauth_django.fields import utc_now
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.endings import check_reason, ending, goes_on, met_ends
from crossauth_django.managers.tables import returns_rows
from crossauth_django.managers.tombstones import bury
from crossauth_django.managers.transactions import after_commit

if TYPE_CHECKING:
    from typing_extensions import Self

    _QuerySet = models.QuerySet[Any]
else:
    _QuerySet = models.QuerySet

_RETURNED = ("token_hash", "end_reason")


class UserSessionQuerySet(_QuerySet):
    """Conditions on what may still change."""

    def with_ends(self) -> Self:
        """Let each row that is loaded know the end of all sessions that it has met."""
        rows: Self = self.annotate(**met_ends())
        return rows

    def not_ended(self) -> Self:
        """Leave out what was ended; a timeout ends without being written."""
        rows: Self = self.filter(goes_on())
        return rows

    def active(self, now: datetime | None = None) -> Self:
        """What is signed in at ``now``, up to and including its last moment."""
        rows: Self = self.not_ended().filter(expires_at__gte=now or utc_now())
        return rows

    def of_user(self, user_id: Any) -> Self:
        """The rows of a user; none of nobody's, which are those of visitors."""
        rows: Self = self.none() if user_id is None else self.filter(user_id=user_id)
        return rows

    def going_on_of(self, user_id: Any) -> Self:
        """Those rows of a user that have not ended, timeouts aside.

        By an index, past all that the user's last end of all sessions has ended.
        """
        rows: Self = self.of_user(user_id).filter(goes_on(user_id))
        return rows

    def end(self, reason: str, *, at: datetime | None = None) -> int:
        """End for ever what has not ended yet, in one statement, and say how many.

        What ended before, also by a timeout, keeps its time and reason; not so what has timed
        out when ``at`` is given, which then is the time of all. The copies are forgotten once
        the change is committed; every worker knows at its next request.
        """
        check_reason(reason)
        values: Mapping[str, Any] = {"revoked_at": at, "end_reason": reason}
        if at is None:
            values = ending(utc_now(), Value(reason))
        reasons = self.change(values, where=goes_on())
        self.forget(reasons)
        return list(reasons.values()).count(reason)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows and, once that is committed, their copies."""
        self._for_write = True
        digests = list(self.values_list("token_hash", flat=True))
        deleted = super().delete()
        self.forget(digests, buries=True)
        return deleted

    # As Django marks its own: not to be called from templates, not copied to managers.
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def change(self, values: Mapping[str, Any], *, where: Q) -> dict[str, str]:
        """Update the rows that meet ``where`` and return by digest why each has ended.

        These rows themselves were chosen by what the update leaves as it is.
        """
        values = {**values, "changed_at": utc_now()}
        self._for_write = True
        connection, rows = connections[self.db], self.filter(where)
        if not returns_rows(connection):
            # No UPDATE ... RETURNING. The rows are told by the moment of their change.
            if not rows.update(**values):
                return {}
            changed = self.filter(changed_at=values["changed_at"])
            return dict(changed.values_list(*_RETURNED))
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(values)
        # As in Django's update(): nothing is selected.
        query.annotations = {}
        query.clear_ordering(force=True)
        try:
            statement, parameters = query.get_compiler(self.db).as_sql()
        except EmptyResultSet:
            return {}
        returned = ", ".join(map(connection.ops.quote_name, _RETURNED))
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING {returned}", parameters)
            return dict(cursor.fetchall())

    def forget(self, digests: Collection[str], *, buries: bool = False) -> None:
        """Forget the copies once what was written so far is committed."""
        # A replica commits nothing.
        self._for_write = True
        if digests:
            forget = functools.partial(
                _forget_copies, list(digests), using=self.db, buries=buries
            )
            after_commit(forget, using=self.db)


def _forget_copies(digests: list[str], *, using: str, buries: bool) -> None:
    if not get_copies().drop(digests) and buries:
        bury(digests, using=using)
