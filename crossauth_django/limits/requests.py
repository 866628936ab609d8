"""Who a request counts as, and a check of one for a project's own code."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Container
from typing import Any, TypeAlias

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.views import View

from crossauth_django.addresses import client_address, network_of
from crossauth_django.exceptions import RateLimitedError
from crossauth_django.limits.budget import RateLimit, Usage, atake, take
from crossauth_django.limits.table import OWN, limit_of

# "ip", "user", "user_or_ip", or a callable that returns any text; None or "" is not limited.
Key: TypeAlias = "str | Callable[[HttpRequest], str | Awaitable[str | None] | None]"
# A limit, or a callable that returns one for this request; None is no limit.
Limit: TypeAlias = (
    "RateLimit | Callable[[HttpRequest], "
    "RateLimit | Awaitable[RateLimit | None] | None] | None"
)

KINDS = ("ip", "user", "user_or_ip")

_ASYNC = (
    "An async limit or key needs an async view, or acheck(): nothing awaits it here."
)


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
    limit, key = _chosen(action, limit, key)
    budget = _budget(_at_once(limit(request)) if callable(limit) else limit)
    if callable(key):
        kind, subject = _named(_at_once(key(request)))
    else:
        kind, subject = _subject(key, request, getattr(request, "user", None))
    if budget is None or not subject:
        return None
    return take(action, subject, budget, kind=kind)


async def ause(
    action: str, request: HttpRequest, limit: Limit, key: Key | None
) -> Usage | None:
    """Do what ``use`` does, without blocking the event loop; what it calls may be async."""
    limit, key = _chosen(action, limit, key)
    budget = _budget(await _awaited(limit(request)) if callable(limit) else limit)
    if callable(key):
        kind, subject = _named(await _awaited(key(request)))
    else:
        has_user = key != "ip" and hasattr(request, "auser")
        kind, subject = _subject(
            key, request, await request.auser() if has_user else None
        )
    if budget is None or not subject:
        return None
    return await atake(action, subject, budget, kind=kind)


def require_limit(action: str, limit: Limit) -> None:
    """Raise ``ImproperlyConfigured`` where the first request would find that nothing limits it."""
    if limit is None and action not in OWN:
        raise ImproperlyConfigured(
            f"{action!r} is no action of crossauth_django: give it a limit."
        )
    if limit is not None and not callable(limit):
        _budget(limit)


def require_kind(key: Key | None) -> None:
    """Raise ``ImproperlyConfigured`` for a misspelt key: it would count by something else."""
    if isinstance(key, str) and key not in KINDS:
        raise ImproperlyConfigured(f"A rate limit's key is a callable or in {KINDS}.")


def require_capitals(methods: Container[str] | None) -> None:
    """Raise ``ImproperlyConfigured`` for ``["post"]``, which no request's method is: all would pass."""
    if methods is not None and any(name in methods for name in View.http_method_names):
        raise ImproperlyConfigured(
            "A rate limit's methods are written in capitals, like ['POST']."
        )


def require_sync(limit: Limit, key: Key | None) -> None:
    """Raise ``ImproperlyConfigured`` for an async callable, of which a sync view can ask nothing."""
    if iscoroutinefunction(limit) or iscoroutinefunction(key):
        raise ImproperlyConfigured(_ASYNC)


def _chosen(action: str, limit: Limit, key: Key | None) -> tuple[Limit, Key]:
    kind: Key = "ip"
    require_limit(action, limit)
    if limit is None:
        limit, kind = limit_of(action), OWN[action][1]
    kind = kind if key is None else key
    require_kind(kind)
    return limit, kind


def _budget(limit: Any) -> RateLimit | None:
    if limit is None or isinstance(limit, RateLimit):
        return limit
    raise ImproperlyConfigured(
        f"A rate limit is written RateLimit(5, 60), or a callable returns one or None: {limit!r} "
        "is neither."
    )


def _at_once(answer: Any) -> Any:
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # Or Python warns that nobody awaited it.
        raise ImproperlyConfigured(_ASYNC)
    return answer


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _named(text: Any) -> tuple[str, str]:
    # Not by its truth: 0 is somebody's number.
    return "key", "" if text is None else str(text)


def _subject(key: str, request: HttpRequest, user: Any) -> tuple[str, str]:
    if key != "ip" and user is not None and user.is_authenticated:
        return "user", str(user.pk)
    if key == "user":
        return key, ""
    # Without an address all visitors would share one budget.
    return "ip", network_of(client_address(request))
