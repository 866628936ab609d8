"""The session engine and the cookie that carries its key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections, router

from crossauth_django.checks.paths import ancestry, is_listed
from crossauth_django.checks.types import fault
from crossauth_django.conf import conf

ENGINE = "crossauth_django.sessions"
_STORE = "crossauth_django.sessions.engine.SessionStore"
_MODEL = "crossauth_django.UserSession"
_SIGNED_COOKIES = "django.contrib.sessions.backends.signed_cookies.SessionStore"
_BEARER = "crossauth_django.middleware.BearerTokenMiddleware"
_AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
# Who sets one of these counts on our engine.
_DEVICE_SETTINGS = (
    "CROSSAUTH_SESSION_IDLE_TIMEOUT",
    "CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT",
    "CROSSAUTH_SESSION_REMEMBER_ME_AGE",
    "CROSSAUTH_SESSION_TOUCH_INTERVAL",
    "CROSSAUTH_SESSION_PREVIOUS_ENGINE",
    "CROSSAUTH_MAX_SESSIONS_PER_USER",
    "CROSSAUTH_ANONYMOUS_SESSIONS",
    "CROSSAUTH_SUDO_WINDOW",
    "CROSSAUTH_SUDO_ATTEMPTS",
    "CROSSAUTH_SUDO_LOCK",
)


def check_engine(**kwargs: Any) -> list[checks.CheckMessage]:
    """E020: with another engine a browser is neither listed nor revoked, nor times out."""
    used = [name for name in _DEVICE_SETTINGS if hasattr(settings, name)]
    if is_listed(_BEARER, settings.MIDDLEWARE):
        used.append(_BEARER)
    if is_ours() or not used:
        return []
    hint = f"Set SESSION_ENGINE = {ENGINE!r}"
    if _immovable(settings.SESSION_ENGINE) is None:
        hint += (
            f", and CROSSAUTH_SESSION_PREVIOUS_ENGINE = {settings.SESSION_ENGINE!r} so that "
            "nobody is signed out"
        )
    return [
        checks.Error(
            f"{used[0]} is for the sessions of crossauth_django, but SESSION_ENGINE is "
            f"{settings.SESSION_ENGINE!r}.",
            hint=f"{hint}.",
            id="crossauth_django.E020",
        )
    ]


def check_previous_engine(**kwargs: Any) -> list[checks.CheckMessage]:
    """E021: the first old cookie would find out."""
    engine = conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE
    if engine is None or fault("CROSSAUTH_SESSION_PREVIOUS_ENGINE"):
        return []
    wrong = _immovable(engine)
    if wrong is None:
        return []
    return [
        checks.Error(
            f"CROSSAUTH_SESSION_PREVIOUS_ENGINE is {engine!r}, which {wrong}.",
            hint="Set it to what SESSION_ENGINE was before, like "
            "'django.contrib.sessions.backends.db', or remove it.",
            id="crossauth_django.E021",
        )
    ]


def _immovable(engine: str) -> str | None:
    """Say why no session of this engine can move in; None when they can."""
    found = ancestry(f"{engine}.SessionStore")
    if not found:
        return "is no session engine"
    if _STORE in found:
        return "is this engine itself"
    if _SIGNED_COOKIES in found:
        return "keeps sessions in the cookie, whose value is no key: none of them can move in"
    return None


def check_bearer(**kwargs: Any) -> list[checks.CheckMessage]:
    """E022: there is no ``request.user`` yet, and every request with a token is an error."""
    paths = list(settings.MIDDLEWARE)
    before = [each for each in paths if is_listed(_BEARER, [each])][:1]
    if not before or is_listed(_AUTHENTICATION, paths[: paths.index(before[0])]):
        return []
    return [
        checks.Error(
            f"{before[0]} stands in MIDDLEWARE without {_AUTHENTICATION} before it.",
            hint=f"List {before[0]!r} after {_AUTHENTICATION!r}.",
            id="crossauth_django.E022",
        )
    ]


def check_cookie(**kwargs: Any) -> list[checks.CheckMessage]:
    """W021, W022: a cookie that scripts read, or that every site may have sent."""
    warnings: list[checks.CheckMessage] = []
    if not is_ours():
        return warnings
    if not settings.SESSION_COOKIE_HTTPONLY:
        warnings.append(
            checks.Warning(
                "SESSION_COOKIE_HTTPONLY is off: any script on a page reads the session's key.",
                hint="Set SESSION_COOKIE_HTTPONLY = True.",
                id="crossauth_django.W021",
            )
        )
    if settings.SESSION_COOKIE_SAMESITE not in ("Lax", "Strict"):
        warnings.append(
            checks.Warning(
                f"SESSION_COOKIE_SAMESITE is {settings.SESSION_COOKIE_SAMESITE!r}: other sites' "
                "requests carry the session.",
                hint="Set SESSION_COOKIE_SAMESITE = 'Lax'.",
                id="crossauth_django.W022",
            )
        )
    return warnings


def check_secure(**kwargs: Any) -> list[checks.CheckMessage]:
    """W020: over plain HTTP whoever listens has the key."""
    if not is_ours() or settings.SESSION_COOKIE_SECURE:
        return []
    return [
        checks.Warning(
            "SESSION_COOKIE_SECURE is off: the session's key also travels over plain HTTP.",
            hint="Set SESSION_COOKIE_SECURE = True, and serve the site over HTTPS.",
            id="crossauth_django.W020",
        )
    ]


def check_csrf(**kwargs: Any) -> list[checks.CheckMessage]:
    """W023: a cookie can be planted by a subdomain; a server-side session cannot."""
    if not is_ours() or settings.CSRF_USE_SESSIONS:
        return []
    return [
        checks.Warning(
            "CSRF_USE_SESSIONS is off: CSRF tokens are kept in a cookie of their own.",
            hint="Set CSRF_USE_SESSIONS = True.",
            id="crossauth_django.W023",
        )
    ]


def check_age(**kwargs: Any) -> list[checks.CheckMessage]:
    """W024: the browser forgets the cookie while the session would go on."""
    names = ("CROSSAUTH_SESSION_IDLE_TIMEOUT", "CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT")
    if not is_ours() or any(map(fault, names)):
        return []
    age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    longer = [name for name in names if getattr(conf, name) > age]
    return [
        checks.Warning(
            f"SESSION_COOKIE_AGE ({settings.SESSION_COOKIE_AGE} s) is shorter than {name}, "
            "which then has no effect.",
            hint=f"Set SESSION_COOKIE_AGE = {round(getattr(conf, name).total_seconds())}, or "
            f"{name} = timedelta(seconds={settings.SESSION_COOKIE_AGE}).",
            id="crossauth_django.W024",
        )
        for name in longer
    ]


def check_rollback(**kwargs: Any) -> list[checks.CheckMessage]:
    """W025: on SQLite a second writer would wait for the first, so sudo counts with the view."""
    if not is_ours():
        return []
    connection = connections[router.db_for_write(apps.get_model(_MODEL))]
    is_always = connection.settings_dict["ATOMIC_REQUESTS"]
    if connection.vendor != "sqlite" or not is_always:
        return []
    return [
        checks.Warning(
            f"DATABASES[{connection.alias!r}] is SQLite and has ATOMIC_REQUESTS: a view that "
            "refuses a wrong password by an exception takes it out of the count of sudo, so "
            "that who has a session guesses without end.",
            hint="Use PostgreSQL, MySQL or MariaDB, set ATOMIC_REQUESTS to False, or put "
            "@transaction.non_atomic_requests on the views that call elevate().",
            id="crossauth_django.W025",
        )
    ]


CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_engine,
    check_previous_engine,
    check_bearer,
    check_cookie,
    check_csrf,
    check_age,
    check_rollback,
)
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (check_secure,)


def is_ours() -> bool:
    """Say whether ``SESSION_ENGINE`` is our engine or one made from it."""
    return _STORE in ancestry(f"{settings.SESSION_ENGINE}.SessionStore")
