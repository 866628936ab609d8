"""How a session ends: by its own row, by its time, or with all the others of its user."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import (
    BigIntegerField,
    Case,
    CharField,
    F,
    Field,
    Func,
    Q,
    Value,
    When,
)

from crossauth_django.fields import AwareDateTimeField

IDLE, ABSOLUTE = "session_timeout", "session_absolute_timeout"


# As long as the column; SQLite would take more.
REASON_LENGTH = 32


def check_reason(reason: str) -> None:
    """Raise ``ValueError`` for one that the table cannot keep."""
    if len(reason) > REASON_LENGTH:
        raise ValueError(f"a reason has at most {REASON_LENGTH} characters")


def timeout_reason(expires_at: datetime, ends_at: datetime | None) -> str:
    """Say which timeout it was that a session met at ``expires_at``."""
    is_absolute = ends_at is not None and expires_at >= ends_at
    return ABSOLUTE if is_absolute else IDLE


def ending(now: datetime, reason: Any, *, spared: Q | None = None) -> dict[str, Any]:
    """Return the values that end rows now, for this reason, but not the ``spared``.

    What has timed out ended then and by that, and still no save in flight revives it any more.
    """
    is_over = Q(expires_at__lt=now)
    is_absolute = is_over & Q(expires_at__gte=F("ends_at"))
    # Without USE_TZ a plain field takes no aware time.
    column = AwareDateTimeField()
    is_spared = Q(pk=None) if spared is None else spared
    return {
        "end_reason": Case(
            When(is_spared, then=Value("")),
            When(is_absolute, then=Value(ABSOLUTE)),
            When(is_over, then=Value(IDLE)),
            default=reason,
        ),
        "revoked_at": Case(
            When(is_spared, then=Value(None)),
            When(is_over, then=F("expires_at")),
            default=Value(now, output_field=column),
            output_field=column,
        ),
    }


class LastEnd(Func):
    """The number of a user's last end of all sessions; 0 where none was.

    In SQL, because the queries that Django builds would take longer than they save.
    """

    template = (
        "COALESCE((SELECT MAX(id) FROM %(ends)s WHERE user_id = %(expressions)s), 0)"
    )
    output_field = BigIntegerField()

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> Any:  # type: ignore[override]
        return super().as_sql(compiler, connection, ends=_table(connection), **context)


class MetEnd(LastEnd):
    """A column of the first end of all sessions that a row has met; NULL without one."""

    template = (
        "(SELECT %(column)s FROM %(ends)s WHERE user_id = %(expressions)s"
        " ORDER BY id LIMIT 1)"
    )
    arg_joiner = " AND id > "

    def __init__(self, column: str, output_field: Field[Any, Any]) -> None:
        row = "user_id", "began_after"
        super().__init__(*row, column=column, output_field=output_field)


def goes_on(user_id: Any = None) -> Q:
    """Select what has not ended, timeouts aside; of one user, whose last end is asked once."""
    last = LastEnd("user_id") if user_id is None else last_end(user_id)
    return Q(revoked_at=None, began_after__gte=last)


def of_status(status: str, now: datetime) -> Q:
    """Select what is ``active``, ``expired`` or ``revoked`` at ``now``."""
    if status == "revoked":
        return ~goes_on()
    if status == "active":
        return goes_on() & Q(expires_at__gte=now)
    if status == "expired":
        return goes_on() & Q(expires_at__lt=now)
    raise ValueError(f"unknown status {status!r}")


def last_end(user_id: Any) -> LastEnd:
    """Return the number of the last end of all of a user's sessions."""
    return LastEnd(Value(user_id, output_field=get_user_model()._meta.pk))


def met_ends() -> dict[str, MetEnd]:
    """Return what a row that is loaded tells of the end of all sessions that it has met."""
    return {
        "met_at": MetEnd("ended_at", AwareDateTimeField()),
        "met_reason": MetEnd("reason", CharField()),
    }


def ended(
    met_at: datetime, reason: str, expires_at: datetime, ends_at: datetime | None
) -> tuple[datetime, str]:
    """Return when and why a session ended that met an end of all, perhaps after its time."""
    if expires_at < met_at:
        return expires_at, timeout_reason(expires_at, ends_at)
    return met_at, reason


def _table(connection: Any) -> str:
    model = apps.get_model("crossauth_django", "SessionsEnd")
    return str(connection.ops.quote_name(model._meta.db_table))
