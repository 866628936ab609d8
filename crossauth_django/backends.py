"""Authentication backends for ``AUTHENTICATION_BACKENDS``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string


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
