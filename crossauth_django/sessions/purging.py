"""Which rows ``crossauth_purge`` may delete."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from crossauth_django.conf import conf
from crossauth_django.managers.tombstones import PREVIOUS, retention
from crossauth_django.models import UserSession

# A worker that missed the end of a session while the cache was away looks for it in the table.
_LOOKED_FOR = timedelta(minutes=10)


def purgeable(before: datetime) -> Q:
    """Select what had expired at a moment, or had ended a while before."""
    before -= retention()
    ended = _no_longer_looked_for(before)
    over = Q(expires_at__lt=before, revoked_at=None)
    over |= Q(revoked_at__lt=ended) | Q(revoked_at=None, met_at__lt=ended)
    if conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
        return over
    # Nobody knows for how long something could still move in.
    return over & ~Q(kind=PREVIOUS)


def purgeable_ends(before: datetime) -> Q:
    """Select the ends of all sessions that no row needs any more to have ended."""
    rows = UserSession.objects.filter(user_id=OuterRef("user_id"), revoked_at=None)
    needs = Exists(rows.filter(began_after__lt=OuterRef("pk")))
    return Q(~needs, ended_at__lt=_no_longer_looked_for(before))


def _no_longer_looked_for(before: datetime) -> datetime:
    return before - _LOOKED_FOR - conf.CROSSAUTH_SESSION_TOUCH_INTERVAL
