"""What is written into a session's row when it ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Case, F, Q, Value, When

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
