"""Recent re-authentication: the password asked for again before what matters.

A session is elevated for ``CROSSAUTH_SUDO_WINDOW``, and with it the elevation ends. Both that and
the wrong passwords stand in the session's own row: no save of its data brings an elevation back,
and a stolen session locks nobody out but itself.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import SESSION_KEY, update_session_auth_hash
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.mixins import AccessMixin
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import OperationalError, connections, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.views.decorators.debug import sensitive_variables

from crossauth_django.conf import conf
from crossauth_django.eventloop import on_worker
from crossauth_django.exceptions import LockedOutError
from crossauth_django.fields import utc_now
from crossauth_django.managers.transactions import in_real_transaction
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore

V = TypeVar("V", bound=Callable[..., Any])

# What ``LockedOutError`` says has refused.
RULE = "sudo"

# How long another request of the same session may hold its row while an attempt is counted.
_PATIENCE_SECONDS = 2
_PAUSE_SECONDS = 0.02


def is_elevated(request: HttpRequest) -> bool:
    """Say whether the session that signs the user in was elevated within the window.

    One query, besides who the user is. A token's request is not elevated by a session that it
    carries beside.
    """
    session = request.session
    if not isinstance(session, SessionStore) or not _owns(request.user, session):
        return False
    return bool(_rows(session).filter(sudo_until__gt=utc_now()).exists())


async def ais_elevated(request: HttpRequest) -> bool:
    """See ``is_elevated``."""
    request.user = await request.auser()
    return await sync_to_async(is_elevated)(request)


@sensitive_variables("password")
def elevate(request: HttpRequest, password: str) -> bool:
    """Check the password of the request's user and elevate the session; False when it is wrong.

    False, too, when it is not the session that signs the user in: a token elevates nothing.

    The attempt is counted before the password is looked at, in one statement, so a burst tries
    no more than ``CROSSAUTH_SUDO_ATTEMPTS``. The last of them, when it is wrong, ends the
    elevation, too; then the session is asked no more for ``CROSSAUTH_SUDO_LOCK``:
    ``LockedOutError``. On success the session has a new key, and the old one is dead.

    Within a transaction the attempt is counted apart from it, and stays counted when it rolls
    back; only SQLite cannot do that. ``TransactionManagementError``, and nothing tried, when
    that transaction has changed the session's row before.
    """
    user, session = request.user, _session(request)
    if not user.is_authenticated or not _owns(user, session):
        return False
    if not _reserve(session):
        raise LockedOutError(_retry_after(session), rule=RULE)
    if not user.check_password(password):
        return False
    # Also a hash that check_password() has renewed leaves the session valid.
    update_session_auth_hash(request, user)
    until = utc_now() + conf.CROSSAUTH_SUDO_WINDOW
    return bool(_rows(session).update(sudo_failures=0, sudo_until=until))


@sensitive_variables("password")
async def aelevate(request: HttpRequest, password: str) -> bool:
    """See ``elevate``."""
    request.user = await request.auser()
    return await sync_to_async(elevate)(request, password)


def drop(request: HttpRequest) -> None:
    """End the elevation before its time."""
    if is_elevated(request):
        _rows(_session(request)).update(sudo_until=None)


async def adrop(request: HttpRequest) -> None:
    """See ``drop``."""
    await sync_to_async(drop)(request)


def sudo_required(view: V | None = None, *, url: str | None = None) -> Any:
    """Let only an elevated session in; a function view, sync or async.

    Others are sent to ``url`` (a path or a URL name) with ``?next=``, where a page calls
    ``elevate``; without one they get 403. Who is not signed in is sent to ``LOGIN_URL``.
    """
    if view is None:
        return functools.partial(sudo_required, url=url)
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def awrapper(
            request: HttpRequest, *args: Any, **kwargs: Any
        ) -> HttpResponseBase:
            request.user = await request.auser()
            refusal = await sync_to_async(_refusal)(request, url)
            if refusal is not None:
                return refusal
            call = cast("Callable[..., Awaitable[HttpResponseBase]]", view)
            return await call(request, *args, **kwargs)

        return awrapper

    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _refusal(request, url) or view(request, *args, **kwargs)

    return wrapper


class SudoRequiredMixin(AccessMixin):
    """``sudo_required`` for class-based views, sync or async; list it first."""

    sudo_url: str | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "view_is_async", False):
            return self._adispatch(request, super().dispatch, *args, **kwargs)  # type: ignore[misc]
        refusal = _refusal(request, self.sudo_url)
        if refusal is not None:
            return refusal
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    async def _adispatch(
        self, request: HttpRequest, dispatch: Any, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        request.user = await request.auser()
        refusal = await sync_to_async(_refusal)(request, self.sudo_url)
        answer: HttpResponseBase = refusal or await dispatch(request, *args, **kwargs)
        return answer


def _refusal(request: HttpRequest, url: str | None) -> HttpResponseBase | None:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if is_elevated(request):
        return None
    if url is None:
        raise PermissionDenied
    return redirect_to_login(request.get_full_path(), resolve_url(url))


def _reserve(session: SessionStore) -> bool:
    """Count one attempt; False, and nothing counted, when there is none left."""
    rows = _rows(session)
    is_apart = connections[rows.db].vendor != "sqlite"
    if is_apart and in_real_transaction(rows.db):
        # A view that answers a wrong password by an exception rolls its transaction back.
        return on_worker(functools.partial(_count_apart, rows))
    # SQLite knows one writer at a time: a second connection would wait for this one.
    return _count(rows)


def _count_apart(rows: Any) -> bool:
    """Count in a transaction of its own, but do not wait for that of the caller, who waits."""
    deadline, last = time.monotonic() + _PATIENCE_SECONDS, None
    while True:
        try:
            with transaction.atomic(using=rows.db):
                locked = rows.select_for_update(nowait=True).values_list("pk")
                if locked.first() is not None:
                    return _count(rows)
        except OperationalError as error:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            # Not always a row that is held: the database may be gone.
            last = error
        raise TransactionManagementError(
            "The session's row is held by a transaction, perhaps by this one. Call elevate() "
            "before what signs in, saves the session or changes the user, or outside of it."
        ) from last


def _count(rows: Any) -> bool:
    now, limit = utc_now(), conf.CROSSAUTH_SUDO_ATTEMPTS
    rows = rows.not_ended()
    forgotten = Q(sudo_tried_at=None) | Q(
        sudo_failures__lt=limit, sudo_tried_at__lte=now - conf.CROSSAUTH_SUDO_WINDOW
    )
    unlocked = Q(
        sudo_failures__gte=limit, sudo_tried_at__lte=now - conf.CROSSAUTH_SUDO_LOCK
    )
    until = F("sudo_until")
    first = {"sudo_until": until if limit > 1 else None, "sudo_failures": 1}
    if rows.filter(forgotten | unlocked).update(**first, sudo_tried_at=now):
        return True
    # MySQL assigns from left to right: what the other is decided by comes last.
    is_last = When(sudo_failures__gte=limit - 1, then=Value(None))
    another = {
        "sudo_until": Case(is_last, default=until),
        "sudo_failures": F("sudo_failures") + 1,
    }
    rows = rows.filter(sudo_failures__lt=limit)
    return bool(rows.update(**another, sudo_tried_at=now))


def _retry_after(session: SessionStore) -> int:
    tried = _rows(session).values_list("sudo_tried_at", flat=True).first()
    left = conf.CROSSAUTH_SUDO_LOCK - (utc_now() - (tried or utc_now()))
    return max(1, -(-left // timedelta(seconds=1)))


def _owns(user: AbstractBaseUser | AnonymousUser, session: SessionStore) -> bool:
    """Say whether it is the session that signs the user in.

    Who signs in by a token can have any number of visitors' sessions, each with its attempts.
    """
    if not user.is_authenticated or not session.has_row:
        return False
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


def _rows(session: SessionStore) -> Any:
    return UserSession.objects.primary().filter(token_hash=session.digest)


def _session(request: HttpRequest) -> SessionStore:
    session = request.session
    if not isinstance(session, SessionStore):
        raise ImproperlyConfigured(
            'Sudo needs SESSION_ENGINE = "crossauth_django.sessions".'
        )
    return session
