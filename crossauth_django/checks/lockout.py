"""Lockout stands before every password, or it stands nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from crossauth_django.checks.caches import DJANGO_REDIS, joined
from crossauth_django.checks.paths import ancestry, is_listed
from crossauth_django.checks.types import fault
from crossauth_django.conf import conf
from crossauth_django.limits import wrong_limits
from crossauth_django.stores import engine_of

BACKEND = "crossauth_django.backends.LockoutBackend"
MIDDLEWARE = "crossauth_django.middleware.LockoutMiddleware"
_DJANGOS_REDIS = "django.core.cache.backends.redis.RedisCache"


def check_backend(**kwargs: Any) -> list[checks.CheckMessage]:
    """E040: what stands after a backend that knows the password stands too late."""
    paths = list(settings.AUTHENTICATION_BACKENDS)
    if paths and BACKEND in ancestry(paths[0]):
        return []
    where = "is not the first" if is_listed(BACKEND, paths) else "is not"
    return [
        checks.Error(
            f"{BACKEND} {where} in AUTHENTICATION_BACKENDS: passwords can be guessed without end.",
            hint=f"Put {BACKEND!r} first in AUTHENTICATION_BACKENDS (which is "
            "['django.contrib.auth.backends.ModelBackend'] when it is not set).",
            id="crossauth_django.E040",
        )
    ]


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """E041: without it a refusal looks like a wrong password, and API sign-ins count as failures."""
    if is_listed(MIDDLEWARE, settings.MIDDLEWARE):
        return []
    return [
        checks.Error(
            f"Neither {MIDDLEWARE} nor a subclass of it is in MIDDLEWARE.",
            hint=f"Add {MIDDLEWARE!r} at the end of MIDDLEWARE.",
            id="crossauth_django.E041",
        )
    ]


def check_rate_limits(**kwargs: Any) -> list[checks.CheckMessage]:
    """E042: a misspelt action would keep its default limit, and nobody would know."""
    if fault("CROSSAUTH_RATE_LIMITS"):
        return []
    return [
        checks.Error(
            f"CROSSAUTH_RATE_LIMITS[{action!r}] {wrong}.",
            hint="Write it as {'register': (5, 3600)}, times and seconds, or 0 for no limit; "
            "the names are in crossauth_django.limits.OWN.",
            id="crossauth_django.E042",
        )
        for action, wrong in wrong_limits(conf.CROSSAUTH_RATE_LIMITS).items()
    ]


def check_engine(**kwargs: Any) -> list[checks.CheckMessage]:
    """E043: an attempt is one step, which this cache cannot make."""
    try:
        engine = engine_of()
    except (ImproperlyConfigured, TypeError):
        return []  # E001 and E003 have said it.
    if engine is not None:
        return []
    return [
        checks.Error(
            f"CACHES[{conf.CROSSAUTH_CACHE_ALIAS!r}] cannot count sign-in attempts: it cannot "
            "read and write as one step.",
            hint="Point CROSSAUTH_CACHE_ALIAS at a Redis cache; memcached, the database, and "
            "LocMemCache within one process, work too.",
            id="crossauth_django.E043",
        )
    ]


def check_rollback(**kwargs: Any) -> list[checks.CheckMessage]:
    """E045: Django REST framework rolls back after a wrong password, and the count with it."""
    if not is_listed(BACKEND, settings.AUTHENTICATION_BACKENDS):
        return []
    connection = joined()
    if connection is None or not connection.settings_dict["ATOMIC_REQUESTS"]:
        return []
    alias = conf.CROSSAUTH_CACHE_ALIAS
    return [
        checks.Error(
            f"CACHES[{alias!r}] is a table in SQLite and DATABASES[{connection.alias!r}] has "
            "ATOMIC_REQUESTS: a request that rolls back takes its wrong password out of the "
            "count, so that passwords can be guessed without end.",
            hint=f"Set CACHES[{alias!r}]['BACKEND'] to {DJANGO_REDIS!r}, keep the cache's table "
            "in PostgreSQL, MySQL or MariaDB, or set ATOMIC_REQUESTS to False.",
            id="crossauth_django.E045",
        )
    ]


def check_hops(**kwargs: Any) -> list[checks.CheckMessage]:
    """W040: behind a proxy all visitors have one address, and share its lock."""
    if conf.CROSSAUTH_TRUSTED_PROXY_HOPS or not settings.SECURE_PROXY_SSL_HEADER:
        return []
    return [
        checks.Warning(
            "SECURE_PROXY_SSL_HEADER says that there is a proxy, and "
            "CROSSAUTH_TRUSTED_PROXY_HOPS is 0: every visitor has the proxy's address, and one "
            "of them can lock all out.",
            hint="Set CROSSAUTH_TRUSTED_PROXY_HOPS to the number of your proxies that append "
            "to X-Forwarded-For, usually 1.",
            id="crossauth_django.W040",
        )
    ]


def check_socket_timeout(**kwargs: Any) -> list[checks.CheckMessage]:
    """W041: a server that hangs would hold every worker that asks it."""
    if fault("CROSSAUTH_CACHE_ALIAS"):
        return []
    configured = settings.CACHES.get(conf.CROSSAUTH_CACHE_ALIAS, {})
    bases, options = ancestry(configured.get("BACKEND")), configured.get("OPTIONS", {})
    if DJANGO_REDIS in bases:
        name, pool = "SOCKET_TIMEOUT", options.get("CONNECTION_POOL_KWARGS", {})
    elif _DJANGOS_REDIS in bases:
        name, pool = "socket_timeout", {}
    else:
        return []
    if options.get(name) or pool.get("socket_timeout") or _in_url(configured):
        return []
    alias = conf.CROSSAUTH_CACHE_ALIAS
    return [
        checks.Warning(
            f"CACHES[{alias!r}] has no {name}: when Redis hangs, so does every sign-in.",
            hint=f"Set CACHES[{alias!r}]['OPTIONS'][{name!r}] = 1 (seconds), and the connect "
            "timeout beside it.",
            id="crossauth_django.W041",
        )
    ]


def _in_url(configured: Mapping[str, Any]) -> bool:
    """Say whether every server's URL has the timeout, where the driver reads it, too."""
    location = configured.get("LOCATION") or ()
    urls = location.split(",") if isinstance(location, str) else location
    return bool(urls) and all("socket_timeout" in _query(str(url)) for url in urls)


def _query(url: str) -> Mapping[str, object]:
    return parse_qs(urlsplit(url).query)


def check_unlock_email(**kwargs: Any) -> list[checks.CheckMessage]:
    """W042: who begins a lock also sends the Host that the owner's link would lead to."""
    if not conf.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL:
        return []
    found: list[checks.CheckMessage] = []
    if not conf.CROSSAUTH_BASE_URL:
        found.append(
            checks.Warning(
                "CROSSAUTH_LOCKOUT_UNLOCK_EMAIL is on and CROSSAUTH_BASE_URL is not set: the "
                "link in the mail is built from the Host that the guesser sent.",
                hint="Set CROSSAUTH_BASE_URL = 'https://' and your host.",
                id="crossauth_django.W042",
            )
        )
    try:
        reverse("crossauth:unlock", args=["token"])
    except NoReverseMatch:
        found.append(
            checks.Error(
                "CROSSAUTH_LOCKOUT_UNLOCK_EMAIL is on, and the page that its link leads to is "
                "in no URLconf.",
                hint="Add path('auth/', include('crossauth_django.urls')) to ROOT_URLCONF.",
                id="crossauth_django.E044",
            )
        )
    return [*found, *_mails_nobody()]


def _mails_nobody() -> list[checks.CheckMessage]:
    """E046: a mail needs an address, and a lock would fail to find whose it is."""
    try:
        model = get_user_model()
    except ImproperlyConfigured:
        return []  # Django's own check has said it.
    name = model.get_email_field_name()
    if name in {field.name for field in model._meta.get_fields()}:
        return []
    return [
        checks.Error(
            f"CROSSAUTH_LOCKOUT_UNLOCK_EMAIL is on, and {settings.AUTH_USER_MODEL} has no field "
            f"{name!r} for an e-mail address: no owner would get a mail.",
            hint=f"Set EMAIL_FIELD of {settings.AUTH_USER_MODEL} to the field that has the "
            "address, or CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = False.",
            id="crossauth_django.E046",
        )
    ]


CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_backend,
    check_middleware,
    check_rate_limits,
    check_engine,
    check_rollback,
    check_hops,
    check_socket_timeout,
    check_unlock_email,
)
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()
