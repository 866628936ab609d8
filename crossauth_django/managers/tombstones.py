"""Ended rows for what has no row: they say that it stays ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.fields import utc_now
from crossauth_django.managers.tables import rows
from crossauth_django.managers.transactions import in_transaction, lock_user

# A kind that signs nobody in and is nobody's device: the mark of ``refuse_previous``.
PREVIOUS = "previous"


def bury(digests: Iterable[str], *, using: str, **values: Any) -> None:
    """Leave ended rows for digests that have none.

    Whoever reaches the cache, or the previous engine, first when it is back finds there what to
    forget.
    """
    now, sessions = utc_now(), rows("UserSession", using=using)
    dates = dict.fromkeys(("created_at", "updated_at", "expires_at", "revoked_at"), now)
    found = [sessions.model(token_hash=each, **dates, **values) for each in digests]
    sessions.bulk_create(found, ignore_conflicts=True)


def refuse_previous(user_id: Any, *, using: str) -> None:
    """Let no session of this user move in any more from ``CROSSAUTH_SESSION_PREVIOUS_ENGINE``.

    That engine neither knows whose its sessions are nor when they began. It waits for a session
    that is moving in: whoever ends the rows afterwards ends that one, too.
    """
    if conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
        return
    users = get_user_model()._base_manager.using(using)

    def work() -> None:
        lock_user(users.all(), user_id)
        bury([_mark(user_id)], using=using, kind=PREVIOUS)

    in_transaction(work, using=using)


def is_refused(user_id: Any, *, using: str) -> bool:
    """Say whether no session of this user may move in; to be asked while the user is locked."""
    marks = rows("UserSession", using=using).filter(token_hash=_mark(user_id))
    # Locked, because on MySQL a plain SELECT may see what was before the user was.
    return marks.select_for_update().values_list("pk").first() is not None


def retention() -> timedelta:
    """How much longer a row is kept that is over: until the previous engine forgets the key."""
    if conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
        return timedelta()
    return timedelta(seconds=settings.SESSION_COOKIE_AGE)


def _mark(user_id: Any) -> str:
    return crypto.digest(f"{PREVIOUS}:{user_id}")
