"""Middleware: the answer to who is locked out, and the end of every sign-in attempt."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import aauthenticate, authenticate
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext_lazy as _

from crossauth_django import crypto, devices, lockout, sudo, unlocking
from crossauth_django.conf import conf
from crossauth_django.exceptions import (
    LockedOutError,
    RateLimitedError,
    StoreUnavailableError,
)
from crossauth_django.responses import Answer, please_wait
from crossauth_django.sessions import SignedInBy, note_token

logger = logging.getLogger("crossauth_django.lockout")

GetResponse: TypeAlias = Callable[
    [HttpRequest], "HttpResponseBase | Awaitable[HttpResponseBase]"
]
Refusal: TypeAlias = "LockedOutError | StoreUnavailableError | RateLimitedError"

# The breaker asks again after a second; a server takes a little longer to come back.
_STORE_RETRY_AFTER = 5

# What Django answers with 403, 404 or 400, and this middleware with 429.
_ANSWERED = (
    *(Http404, PermissionDenied, SuspiciousOperation, BadRequest),
    *(MultiPartParserError, RateLimitedError),
)
_DOORS = tuple(inspect.unwrap(door).__code__ for door in (authenticate, aauthenticate))
_PAGE = "crossauth_django/locked_out.html"


class LockoutMiddleware:
    """Turns a refused sign-in into 429, or 503 while the cache is down, and settles the others.

    An attempt whose password was right and that signed nobody in (API code) is given back at the
    end of the request; a crash leaves it counted. After a sign-in the browser gets its device
    cookie. A request that tries no password costs nothing. ``RateLimitedError`` from a view
    becomes a 429 too.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        with lockout.under_way(request):
            response = cast("HttpResponseBase", self.get_response(request))
        found = lockout.sign_ins_so_far(request)
        if found is None:
            return response
        try:
            for attempt in _right(found, response):
                lockout.give_back(attempt)
        except StoreUnavailableError as error:
            logger.warning("A right password stays counted: %s", error)
        return _answered(request, found, response)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        answer = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        with lockout.under_way(request):
            response = await answer
        found = lockout.sign_ins_so_far(request)
        if found is None:
            return response
        try:
            for attempt in _right(found, response):
                await lockout.agive_back(attempt)
        except StoreUnavailableError as error:
            logger.warning("A right password stays counted: %s", error)
        # A page's context processors may ask the database.
        return await sync_to_async(_answered)(request, found, response)

    def process_template_response(
        self, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        """Answer before a form is rendered that nobody would see."""
        found = lockout.sign_ins_so_far(request)
        if found is None or not isinstance(response, TemplateResponse):
            return response
        error = found.refusal
        if error is None or found.pending or found.signed_in:
            return response
        return _refused(request, error, response, login=found.login)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Leave what was tried counted by a crash, and answer an error that means "wait"."""
        found = lockout.sign_ins_so_far(request)
        if found is not None and _is_crash(exception):
            found.crashed()
        if isinstance(exception, (LockedOutError, RateLimitedError)):
            return _refused(request, exception, None)
        return None


class BearerTokenMiddleware:
    """Sets ``request.user`` from ``Authorization: Bearer``, for tokens of ``devices.issue_token``.

    List it after ``AuthenticationMiddleware``. What a cookie signs in stays as it is, and needs
    its CSRF token; a request that the header alone signs in needs none, because no browser sends
    that header on its own (RFC 6750 section 2.1), and carries ``request.crossauth``. A token that
    signs nobody in changes nothing. Every answer varies by the header: a shared cache would hand
    one user's page to another.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(
        self, request: HttpRequest
    ) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        token = _bearer_token(request)
        if token is not None and not request.user.is_authenticated:
            _sign_in(request, token, devices.user_of_token(token))
        return _varied(cast("HttpResponseBase", self.get_response(request)))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        token = _bearer_token(request)
        if token is not None and not (await request.auser()).is_authenticated:
            _sign_in(request, token, await devices.auser_of_token(token))
        answer = cast("Awaitable[HttpResponseBase]", self.get_response(request))
        return _varied(await answer)


def _bearer_token(request: HttpRequest) -> str | None:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _varied(response: HttpResponseBase) -> HttpResponseBase:
    patch_vary_headers(response, ("Authorization",))
    return response


def _sign_in(request: HttpRequest, token: str, user: Any) -> None:
    if user is None:
        return

    async def auser() -> Any:
        return user

    request.user, request.auser = user, auser
    signed_in_by = SignedInBy(crypto.digest(token))
    request.crossauth = signed_in_by  # type: ignore[attr-defined]
    note_token(signed_in_by)
    # What CsrfViewMiddleware asks for; Django REST framework and Django's test client set it, too.
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001


def _is_crash(exception: Exception) -> bool:
    """Say whether nobody knows what has become of an attempt: Django answers some errors."""
    if not isinstance(exception, _ANSWERED):
        return True
    # A backend that raises one has perhaps not looked at the password.
    return any(
        frame.f_code in _DOORS
        for frame, _line in traceback.walk_tb(exception.__traceback__)
    )


def know_device(
    request: HttpRequest,
    response: HttpResponseBase,
    names: Mapping[str, lockout.Owner],
    *,
    changed: lockout.Owner | None = None,
) -> None:
    """Give the browser the cookie by which it is known when one of ``names`` signs in again.

    Where it knows ``changed``, it still does. Nothing is set where its cookie says so already.
    """
    age = conf.CROSSAUTH_DEVICE_COOKIE_AGE
    cookie = lockout.cookie_name()
    previous = request.COOKIES.get(cookie)
    value = lockout.cookie_for(previous, names, changed=changed) if age else None
    if value is None:
        return
    response.set_cookie(
        cookie,
        value,
        max_age=age,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _right(found: lockout.SignIns, response: HttpResponseBase) -> list[lockout.Attempt]:
    """Return the attempts whose password was right: they have not failed and nothing crashed."""
    if response.status_code >= 500:
        found.crashed()
    return found.pending


def _answered(
    request: HttpRequest, found: lockout.SignIns, response: HttpResponseBase
) -> HttpResponseBase:
    if found.signed_in or found.changed:
        know_device(request, response, found.signed_in, changed=found.changed)
    # A view may try a second name after the first was refused; its success is the answer then.
    is_answer = found.signed_in or found.pending or isinstance(response, Answer)
    if found.refusal is None or is_answer:
        return response
    return _refused(request, found.refusal, response, login=found.login)


def _refused(
    request: HttpRequest,
    error: Refusal,
    replaced: HttpResponseBase | None,
    *,
    login: str = "",
) -> HttpResponse:
    status, wait, title, page = 429, _STORE_RETRY_AFTER, _TITLES[error.code], _PAGE
    if isinstance(error, LockedOutError) and error.rule == sudo.RULE:
        title = _("Too many wrong passwords")
    if isinstance(error, StoreUnavailableError):
        status = 503
    else:
        wait = error.retry_after
    if isinstance(error, RateLimitedError):
        page = "crossauth_django/rate_limited.html"
    answer = please_wait(
        request,
        page,
        status=status,
        code=error.code,
        title=str(title),
        retry_after=wait,
        replaced=replaced,
    )
    if not isinstance(error, LockedOutError) or not error.new_locks or not login:
        return answer
    if conf.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL:
        locks, base_url = error.new_locks, _base_url(request)
        answer.after = functools.partial(unlocking.mail_link, login, locks, base_url)
    return answer


_TITLES = {
    StoreUnavailableError.code: _("Signing in is not possible"),
    RateLimitedError.code: _("Too many requests"),
    LockedOutError.code: _("Too many sign-in attempts"),
}


def _base_url(request: HttpRequest) -> str:
    if conf.CROSSAUTH_BASE_URL:
        return conf.CROSSAUTH_BASE_URL.rstrip("/")
    return request.build_absolute_uri("/").rstrip("/")
