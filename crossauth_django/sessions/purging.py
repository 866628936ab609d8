"""Which rows ``crossauth_purge`` may delete."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from crossauth_django.conf import conf
from crossauth_django.managers.tombstones import PREVIOUS, retention

# A worker that missed the end of a session while the cache was away looks for it in the table.
_LOOKED_FOR = timedelta(minutes=10)


def purgeable(before: datetime) -> Q:
    """Select what had expired at a moment, or had ended a while before."""
    before -= retention()
    ended = before - _LOOKED_FOR - conf.CROSSAUTH_SESSION_TOUCH_INTERVAL
    over = Q(expires_at__lt=before, revoked_at=None) | Q(revoked_at__lt=ended)
    if conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
        return over
    # Nobody knows for how long something could still move in.
    return over & ~Q(kind=PREVIOUS)
