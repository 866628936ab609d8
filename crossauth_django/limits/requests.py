"""Who a request counts as, and a check of one for a project's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from crossauth_django.addresses import client_address, network_of
from crossauth_django.exceptions import RateLimitedError
from crossauth_django.limits.budget import RateLimit, Usage, atake, take
from crossauth_django.limits.table import OWN, limit_of

# "ip", "user", "user_or_ip", or a callable that returns any text; None or "" is not limited.
Key: TypeAlias = "str | Callable[[HttpRequest], str | None]"
# A limit, or a callable that returns one for this request; None is no limit.
Limit: TypeAlias = "RateLimit | Callable[[HttpRequest], RateLimit | None] | None"

KINDS = ("ip", "user", "user_or_ip")


def check(
    action: str, request: HttpRequest, *, limit: Limit = None, key: Key | None = None
) -> Usage | None:
    """Count ``request`` against ``action``; raise ``RateLimitedError`` when it is one too many.

    Without ``limit`` and ``key`` the action is one of this app's own. None where nothing limits
    it: a limit of 0, a request without an address or a user to count by, a cache that is down.
    """
    usage = use(action, request, limit, key)
    if usage is not None and not usage.is_allowed:
        raise RateLimitedError(usage.retry_after)
    return usage


async def acheck(
    action: str, request: HttpRequest, *, limit: Limit = None, key: Key | None = None
) -> Usage | None:
    """Do what ``check`` does, without blocking the event loop."""
    usage = await ause(action, request, limit, key)
    if usage is not None and not usage.is_allowed:
        raise RateLimitedError(usage.retry_after)
    return usage


def use(
    action: str, request: HttpRequest, limit: Limit, key: Key | None
) -> Usage | None:
    """Count the request and return what its budget says."""
    resolved, kind = resolve(action, request, limit, key)
    subject = _subject(kind, request, getattr(request, "user", None))
    if resolved is None or not subject:
        return None
    return take(action, subject, resolved)


async def ause(
    action: str, request: HttpRequest, limit: Limit, key: Key | None
) -> Usage | None:
    """Do what ``use`` does, without blocking the event loop."""
    resolved, kind = resolve(action, request, limit, key)
    user = None
    if kind in ("user", "user_or_ip") and hasattr(request, "auser"):
        user = await request.auser()
    subject = _subject(kind, request, user)
    if resolved is None or not subject:
        return None
    return await atake(action, subject, resolved)


def resolve(
    action: str, request: HttpRequest, limit: Limit, key: Key | None
) -> tuple[RateLimit | None, Key]:
    """Return the limit of this request and by what it counts."""
    if limit is None:
        if action not in OWN:
            raise ImproperlyConfigured(
                f"{action!r} is no action of crossauth_django: give it a limit."
            )
        kind = OWN[action][1] if key is None else key
        return limit_of(action), kind
    return limit if isinstance(limit, RateLimit) else limit(request), key or "ip"


def require_kind(key: Key | None) -> None:
    """Raise ``ImproperlyConfigured`` for a misspelt key, when the view is defined."""
    if isinstance(key, str) and key not in KINDS:
        raise ImproperlyConfigured(f"A rate limit's key is a callable or in {KINDS}.")


def _subject(kind: Key, request: HttpRequest, user: Any) -> str:
    if not isinstance(kind, str):
        text = kind(request)
        return f"key:{text}" if text else ""
    if kind != "ip" and user is not None and user.is_authenticated:
        return f"user:{user.pk}"
    if kind == "user":
        return ""
    # Without an address all visitors would share one budget.
    network = network_of(client_address(request))
    return f"ip:{network}" if network else ""
