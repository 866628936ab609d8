"""Apps, middleware and authentication backends that must be listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import NoReverseMatch, reverse

from crossauth_django.checks.paths import is_listed, load
from crossauth_django.conf import conf

_APPS = ("django.contrib.auth", "django.contrib.contenttypes")
# These engines keep a table of that app; others, ours included, do without.
_ENGINES_WITH_TABLE = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
)
_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
_PROVIDER_BACKEND = "crossauth_django.backends.ProviderBackend"


def check_apps(**kwargs: Any) -> list[checks.CheckMessage]:
    """E005: users and permissions live in apps of Django's own."""
    needed = list(_APPS)
    if settings.SESSION_ENGINE in _ENGINES_WITH_TABLE:
        needed.append("django.contrib.sessions")
    return [
        checks.Error(
            f"{name} is not installed.",
            hint=f"Add {name!r} to INSTALLED_APPS.",
            id="crossauth_django.E005",
        )
        for name in needed
        if not apps.is_installed(name)
    ]


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """E006: no session, no user and no protection against forged posts without these."""
    return [
        checks.Error(
            f"Neither {path} nor a subclass of it is in MIDDLEWARE.",
            hint=f"Add {path!r} to MIDDLEWARE.",
            id="crossauth_django.E006",
        )
        for path in _MIDDLEWARE
        if not is_listed(path, settings.MIDDLEWARE)
    ]


def check_backends(**kwargs: Any) -> list[checks.CheckMessage]:
    """E007: a sign-in at a provider ends in authenticate(), which asks these."""
    if not conf.CROSSAUTH_PROVIDERS or is_listed(
        _PROVIDER_BACKEND, settings.AUTHENTICATION_BACKENDS
    ):
        return []
    return [
        checks.Error(
            f"CROSSAUTH_PROVIDERS is set, but neither {_PROVIDER_BACKEND} nor a subclass of "
            "it is in AUTHENTICATION_BACKENDS.",
            hint=f"Add {_PROVIDER_BACKEND!r} to AUTHENTICATION_BACKENDS (which is "
            "['django.contrib.auth.backends.ModelBackend'] when it is not set).",
            id="crossauth_django.E007",
        )
    ]


def check_urls(**kwargs: Any) -> list[checks.CheckMessage]:
    """W005: the sign-in page is an error where its buttons have no address to post to."""
    if not conf.CROSSAUTH_PROVIDERS or not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("crossauth:oauth_login", args=["name"])
    except NoReverseMatch:
        return [
            checks.Warning(
                "CROSSAUTH_PROVIDERS is set, and the pages of crossauth_django are not in "
                "ROOT_URLCONF: {% crossauth_providers %} finds no address for its buttons.",
                hint="Add path('auth/', include('crossauth_django.urls')) to ROOT_URLCONF.",
                id="crossauth_django.W005",
            )
        ]
    return []


def check_paths(**kwargs: Any) -> list[checks.CheckMessage]:
    """E008: a misspelt path stops the site at its first request; say it before."""
    return [
        message
        for name in ("MIDDLEWARE", "AUTHENTICATION_BACKENDS")
        for message in _wrong_paths(name, getattr(settings, name))
    ]


def _wrong_paths(name: str, paths: Any) -> list[checks.CheckMessage]:
    if isinstance(paths, str):
        # Python would read it letter by letter.
        return [
            checks.Error(
                f"{name} is text, where a list of dotted paths belongs.",
                hint=f"Write {name} = [{paths!r}], with brackets, or with a comma after it.",
                id="crossauth_django.E008",
            )
        ]
    return [
        checks.Error(
            f"{path!r} in {name} cannot be imported.",
            hint=f"Correct or remove {path!r} in {name}.",
            id="crossauth_django.E008",
        )
        for path in paths
        if load(path) is None
    ]


CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_apps,
    check_middleware,
    check_backends,
    check_urls,
    check_paths,
)
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
