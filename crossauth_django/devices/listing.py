"""The browsers and tokens that a user is signed in with: list them, end them."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import F
from django.http import HttpRequest

from crossauth_django.fields import utc_now
from crossauth_django.managers.endings import ended, timeout_reason
from crossauth_django.managers.identifiers import to_pk
from crossauth_django.models import UserSession
from crossauth_django.sessions import (
    SessionStore,
    SignedInBy,
    current_session,
    current_token,
)

# What a device is made from, in the order of ``_device``'s arguments; the last tell how it ended.
_COLUMNS = (
    *("pk", "kind", "token_hash", "client_name", "user_agent", "ip"),
    *("created_at", "last_active_at", "expires_at"),
)
_END_COLUMNS = ("ends_at", "revoked_at", "end_reason", "met_at", "met_reason")


class Device(NamedTuple):
    """One session as its owner sees it.

    ``handle`` names it in ``revoke``; it is not the key and says nothing about it. ``kind`` is
    ``"browser"`` or ``"token"``. ``address`` is where it signed in from. ``end_reason`` is empty
    while the session goes on, and when none was given.
    """

    handle: str
    kind: str
    is_current: bool
    client_name: str
    user_agent: str
    address: str
    created_at: datetime
    last_active_at: datetime | None
    expires_at: datetime
    ended_at: datetime | None
    end_reason: str

    @property
    def is_active(self) -> bool:
        return self.ended_at is None

    @property
    def browser(self) -> str:
        """The browser's name, like ``"Firefox"``; empty when unknown, or without ``ua-parser``."""
        return _parse(self.user_agent)[0]

    @property
    def system(self) -> str:
        """The operating system's name, like ``"Android"``; empty like ``browser``."""
        return _parse(self.user_agent)[1]


def list_sessions(
    user: AbstractBaseUser,
    *,
    request: HttpRequest | None = None,
    include_ended: bool = False,
) -> list[Device]:
    """Return the user's sessions, the latest activity first. One query.

    The current one is that of ``request``, or of the request under way. Those that have ended
    are kept until ``crossauth_purge`` deletes them.
    """
    rows, now = UserSession.objects.of_user(user.pk), utc_now()
    if not include_ended:
        rows = UserSession.objects.going_on_of(user.pk).filter(expires_at__gte=now)
    # PostgreSQL would list tokens that were never used first.
    latest = F("last_active_at").desc(nulls_last=True)
    rows = rows.order_by(latest, "-created_at", "pk")
    current = _current_digests(request)
    # Without the data, and without making a row of each.
    columns = (*_COLUMNS, *(_END_COLUMNS if include_ended else ()))
    return [_device(current, now, *values) for values in rows.values_list(*columns)]


def revoke(
    user: AbstractBaseUser, handle: str, *, reason: str = "user_revoked"
) -> bool:
    """End one session of this user, on every worker at its next request.

    False when the handle is unknown, malformed, another user's, or its session has ended:
    one answer for all. A ``reason`` of more than 32 characters is a ``ValueError``.
    """
    pk = to_pk(UserSession, handle)
    rows = UserSession.objects.primary().of_user(user.pk).filter(pk=pk)
    return pk is not None and bool(rows.end(reason))


def revoke_others(request: HttpRequest, *, reason: str = "user_revoked_all") -> int:
    """End all sessions and tokens of the request's user but this one; return how many."""
    # The user first, because asking who it is loads the session.
    user_id = _user_id(request)
    spared = _current_digests(request)
    return UserSession.objects.end_all(user_id, reason, spared=spared)


def revoke_all(user: AbstractBaseUser, *, reason: str = "logout_all") -> int:
    """End all sessions and tokens of the user, in one statement; return how many."""
    return UserSession.objects.end_all(user.pk, reason)


def remember(request: HttpRequest) -> None:
    """Keep this browser signed in for ``CROSSAUTH_SESSION_REMEMBER_ME_AGE``.

    Call it right before or after ``login()``; a sign-in without it is not remembered. It stands
    for both timeouts and gives the cookie this age.
    """
    session = _session_of(request)
    if session is not None:
        session.remember()


async def alist_sessions(
    user: AbstractBaseUser,
    *,
    request: HttpRequest | None = None,
    include_ended: bool = False,
) -> list[Device]:
    """See ``list_sessions``."""
    return await sync_to_async(list_sessions)(
        user, request=request, include_ended=include_ended
    )


async def arevoke(
    user: AbstractBaseUser, handle: str, *, reason: str = "user_revoked"
) -> bool:
    """See ``revoke``."""
    return await sync_to_async(revoke)(user, handle, reason=reason)


async def arevoke_others(
    request: HttpRequest, *, reason: str = "user_revoked_all"
) -> int:
    """See ``revoke_others``."""
    request.user = await request.auser()
    return await sync_to_async(revoke_others)(request, reason=reason)


async def arevoke_all(user: AbstractBaseUser, *, reason: str = "logout_all") -> int:
    """See ``revoke_all``."""
    return await sync_to_async(revoke_all)(user, reason=reason)


async def aremember(request: HttpRequest) -> None:
    """See ``remember``."""
    await sync_to_async(remember)(request)


def _device(
    current: list[str],
    now: datetime,
    pk: Any,
    kind: str,
    token_hash: str,
    client_name: str | None,
    user_agent: str | None,
    address: str | None,
    created_at: datetime,
    last_active_at: datetime | None,
    expires_at: datetime,
    ends_at: datetime | None = None,
    ended_at: datetime | None = None,
    end_reason: str = "",
    met_at: datetime | None = None,
    met_reason: str | None = None,
) -> Device:
    if ended_at is None and met_at is not None:
        ended_at, end_reason = ended(met_at, met_reason or "", expires_at, ends_at)
    elif ended_at is None and now > expires_at:
        ended_at, end_reason = expires_at, timeout_reason(expires_at, ends_at)
    return Device(
        handle=str(pk),
        kind=kind,
        is_current=token_hash in current,
        client_name=client_name or "",
        user_agent=user_agent or "",
        address=address or "",
        created_at=created_at,
        last_active_at=last_active_at,
        expires_at=expires_at,
        ended_at=ended_at,
        end_reason=end_reason,
    )


def _session_of(request: HttpRequest | None) -> SessionStore | None:
    session = (
        current_session() if request is None else getattr(request, "session", None)
    )
    return session if isinstance(session, SessionStore) else None


def _current_digests(request: HttpRequest | None) -> list[str]:
    """What the table knows of the session and the token of a request, or of that under way."""
    session = _session_of(request)
    token: SignedInBy | None = (
        current_token() if request is None else getattr(request, "crossauth", None)
    )
    digests = (session and session.digest, token and token.token_digest)
    return [digest for digest in digests if digest]


def _user_id(request: HttpRequest) -> Any:
    return getattr(getattr(request, "user", None), "pk", None)


@functools.lru_cache(maxsize=1000)
def _parse(user_agent: str) -> tuple[str, str]:
    try:
        from ua_parser import parse
    except ImportError:
        return "", ""
    found = parse(user_agent)
    return (
        found.user_agent.family if found.user_agent else "",
        found.os.family if found.os else "",
    )
