"""Authentication backends for ``AUTHENTICATION_BACKENDS``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from crossauth_django import lockout
from crossauth_django.addresses import client_address
from crossauth_django.conf import conf
from crossauth_django.exceptions import (
    LockedOutError,
    StoreBusyError,
    StoreUnavailableError,
)

logger = logging.getLogger("crossauth_django.lockout")


class LockoutBackend:
    """Counts every attempt before a password is checked; list it first.

    It signs nobody in. Whatever calls ``authenticate()`` is covered: forms, the admin, APIs. Over
    the limit it raises ``PermissionDenied``, so that Django asks no further backend, and
    ``LockoutMiddleware`` answers. Credentials without a name or a password (a token, a user whom
    the web server knows) are no guess and pass. It has no ``get_user``, so that the test client's
    ``force_login`` chooses the next backend.
    """

    @sensitive_variables("credentials")
    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        name = lockout.name_in(credentials)
        if name is None:
            return
        found = lockout.django_request(request)
        try:
            if found is None:
                lockout.note_alone(name, refused=False)
                lockout.check(name)
            else:
                typed = lockout.typed_in(credentials)
                _keep(found, lockout.reserve(typed, **_where(found, typed)))
        except (LockedOutError, StoreUnavailableError) as error:
            _refuse(found, error, credentials)

    @sensitive_variables("credentials")
    async def aauthenticate(
        self, request: HttpRequest | None, **credentials: Any
    ) -> None:
        name = lockout.name_in(credentials)
        if name is None:
            return
        found = lockout.django_request(request)
        try:
            if found is None:
                lockout.note_alone(name, refused=False)
                await lockout.acheck(name)
            else:
                typed = lockout.typed_in(credentials)
                _keep(found, await lockout.areserve(typed, **_where(found, typed)))
        except (LockedOutError, StoreUnavailableError) as error:
            _refuse(found, error, credentials)


class ProviderBackend(ModelBackend):
    """Keeps signed in whom a provider identified.

    It accepts no credentials: the OAuth flow signs in after its own checks. A disabled user is
    refused, at sign-in and at every later request. Permissions are ``ModelBackend``'s, so that
    a site without passwords may list this backend alone; beside ``ModelBackend`` they come
    from the same per-user cache and cost no further query.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:  # type: ignore[override]
        """Sign nobody in."""

    async def aauthenticate(  # type: ignore[override]
        self, request: HttpRequest | None, **credentials: Any
    ) -> None:
        """Sign nobody in."""


def provider_backend() -> tuple[str, ProviderBackend]:
    """Return ``ProviderBackend``, or a project's subclass, as it stands in the settings."""
    for path in settings.AUTHENTICATION_BACKENDS:
        backend = import_string(path)
        if isinstance(backend, type) and issubclass(backend, ProviderBackend):
            return path, backend()
    raise ImproperlyConfigured(
        "AUTHENTICATION_BACKENDS lacks 'crossauth_django.backends.ProviderBackend': who "
        "signs in at a provider would be signed out at the next request."
    )


def _where(request: HttpRequest, typed: str) -> dict[str, Any]:
    cookie = request.COOKIES.get(lockout.cookie_name())
    return {
        "address": client_address(request),
        "device": lockout.device_of(cookie, typed),
        "request_id": request.META.get("HTTP_X_REQUEST_ID", ""),
    }


def _keep(request: HttpRequest, attempt: lockout.Attempt | None) -> None:
    if attempt is not None:
        lockout.sign_ins(request).counted(attempt)


def _refuse(
    request: HttpRequest | None,
    error: LockedOutError | StoreUnavailableError,
    credentials: Mapping[str, Any],
) -> None:
    """Stop Django from asking the next backend, and leave word for the middleware."""
    if isinstance(error, StoreUnavailableError):
        # Who guesses can keep a key busy, and would open the door with it.
        is_down = not isinstance(error, StoreBusyError)
        if is_down and conf.CROSSAUTH_LOCKOUT_FAIL_OPEN:
            logger.error("A sign-in attempt is not counted: %s", error)
            return
        logger.error("A sign-in attempt is refused: %s", error)
    if request is None:
        lockout.note_alone(lockout.name_in(credentials) or "", refused=True)
    else:
        lockout.sign_ins(request).refused(error, lockout.typed_in(credentials))
    raise PermissionDenied(error.code) from error
