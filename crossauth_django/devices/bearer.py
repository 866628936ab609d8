"""Bearer tokens: devices that have no browser (RFC 6750)."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import router

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.fields import utc_now
from crossauth_django.managers.credentials import (
    REASONS,
    fingerprints,
    is_outdated,
    reason_to_end,
)
from crossauth_django.managers.identifiers import storable
from crossauth_django.managers.sessions import TOKEN
from crossauth_django.managers.transactions import until_done
from crossauth_django.models import UserSession


def issue_token(user: AbstractBaseUser, *, client_name: str, max_age: timedelta) -> str:
    """Return a bearer token for ``BearerTokenMiddleware``; only its digest is kept.

    It is listed and revoked like any device, ends with a change of the password or the address,
    and does not count among ``CROSSAUTH_MAX_SESSIONS_PER_USER``. ``ValueError`` for a user who is
    not saved.
    """
    if user.pk is None or user._state.adding:
        raise ValueError("a token needs a user who is saved")
    token, now = crypto.new_secret(), utc_now()
    password, email = fingerprints(user)
    issue = functools.partial(
        UserSession.objects.create,
        kind=TOKEN,
        user_id=user.pk,
        token_hash=crypto.digest(token),
        password_fingerprint=password,
        email_fingerprint=email,
        client_name=storable(client_name),
        created_at=now,
        updated_at=now,
        expires_at=now + max_age,
    )
    until_done(issue, using=router.db_for_write(UserSession))
    return token


def user_of_token(token: str) -> AbstractBaseUser | None:
    """Return whom a bearer token signs in, in one query; None for every token that does not.

    A user whom the default manager leaves out is nobody, as for Django's own backend.
    It ends when its user was disabled, or has another password or address, by a door without
    signals. The activity is written at most once in ``CROSSAUTH_SESSION_TOUCH_INTERVAL``.
    """
    now, rows = utc_now(), UserSession.objects.primary().active()
    rows = rows.filter(token_hash=crypto.digest(token), kind=TOKEN)
    users = get_user_model()._default_manager.using(rows.db)
    row = rows.filter(user__in=users.all()).select_related("user").first()
    if row is None:
        return None
    user: Any = row.user
    reason = reason_to_end(row, user) if user.is_active else "user_disabled"
    if reason is not None:
        # While a hash is being renewed, the row is the first to know the new one.
        if reason != REASONS["password_fingerprint"] or not is_outdated(user.password):
            rows.end(reason)
        return None
    seen = row.last_active_at
    if seen is None or now - seen >= conf.CROSSAUTH_SESSION_TOUCH_INTERVAL:
        rows.update(last_active_at=now)
    found: AbstractBaseUser = user
    return found


async def aissue_token(
    user: AbstractBaseUser, *, client_name: str, max_age: timedelta
) -> str:
    """See ``issue_token``."""
    return await sync_to_async(issue_token)(
        user, client_name=client_name, max_age=max_age
    )


async def auser_of_token(token: str) -> AbstractBaseUser | None:
    """See ``user_of_token``."""
    return await sync_to_async(user_of_token)(token)
