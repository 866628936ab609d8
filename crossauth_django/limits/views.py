"""The decorator and the mixin: 429 for one request too many, headers for all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views import View

from crossauth_django.limits.requests import (
    Key,
    Limit,
    ause,
    require_capitals,
    require_kind,
    require_limit,
    require_sync,
    use,
)
from crossauth_django.responses import please_wait

if TYPE_CHECKING:
    from crossauth_django.limits.budget import Usage

V = TypeVar("V", bound=Callable[..., Any])

TEMPLATE = "crossauth_django/rate_limited.html"


def rate_limit(
    action: str,
    limit: Limit = None,
    *,
    key: Key | None = None,
    methods: Container[str] | None = None,
) -> Callable[[V], V]:
    """Limit a view: a function, sync or async, or a class-based view.

    ``limit`` may be a callable that gets the request, for limits by plan or by customer. ``key``
    is ``"ip"`` (the default), ``"user"`` (who is not signed in is not counted), ``"user_or_ip"``
    or a callable that returns what to count by. With ``methods`` the others are not counted; HEAD
    is where GET is, because a view does the same for both. An async view may have async callables.
    Views that share an action and a limit share its budget.
    """
    require_limit(action, limit)
    require_kind(key)
    require_capitals(methods)

    def decorate(view: V) -> V:
        if isinstance(view, type):
            _limit_class(view, action, limit, key, methods)
            return view
        return _limited(view, action, limit, key, methods)

    return decorate


class RateLimitMixin(View):
    """``rate_limit`` by class attributes; put it first.

    A subclass may change them, and ``as_view()`` for one URL. Without an action each class has
    budgets of its own.
    """

    rate_limit_action: str = ""
    rate_limit: Limit = None
    rate_limit_key: Key | None = None
    rate_limit_methods: Container[str] | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        limit, key = self._unbound("rate_limit"), self._unbound("rate_limit_key")
        require_kind(key)
        require_capitals(self.rate_limit_methods)
        view: Any = super().dispatch
        if self.view_is_async:
            view = _as_coroutine(view)
        cls = type(self)
        return _limited(
            view,
            self.rate_limit_action or f"{cls.__module__}.{cls.__qualname__}",
            limit,
            key,
            self.rate_limit_methods,
        )(request, *args, **kwargs)

    def _unbound(self, name: str) -> Any:
        # What as_view() was given lies in the instance. From the class itself, because a callable
        # there would become a method of the instance.
        return vars(self).get(name, getattr(type(self), name))


def _limited(
    view: V, action: str, limit: Limit, key: Key | None, methods: Container[str] | None
) -> V:
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def awrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not _is_counted(request.method, methods):
                return await view(request, *args, **kwargs)
            usage = await ause(action, request, limit, key)
            if usage is not None and not usage.is_allowed:
                # A page's context processors may ask the database.
                return await sync_to_async(_refused)(request, usage)
            return _marked(await view(request, *args, **kwargs), usage)

        return awrapper  # type: ignore[return-value]

    require_sync(limit, key)

    @functools.wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not _is_counted(request.method, methods):
            return view(request, *args, **kwargs)
        usage = use(action, request, limit, key)
        if usage is not None and not usage.is_allowed:
            return _refused(request, usage)
        return _marked(view(request, *args, **kwargs), usage)

    return wrapper  # type: ignore[return-value]


def _is_counted(method: str | None, methods: Container[str] | None) -> bool:
    if methods is None or method in methods:
        return True
    return method == "HEAD" and "GET" in methods


def _limit_class(
    view: type[Any],
    action: str,
    limit: Limit,
    key: Key | None,
    methods: Container[str] | None,
) -> None:
    dispatch = view.dispatch

    @functools.wraps(dispatch)
    def limited(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        inner = functools.partial(dispatch, self)
        chosen: Any = _as_coroutine(inner) if self.view_is_async else inner
        return _limited(chosen, action, limit, key, methods)(request, *args, **kwargs)

    view.dispatch = limited


def _as_coroutine(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    async def dispatched(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return await dispatch(request, *args, **kwargs)

    return dispatched


def _refused(request: HttpRequest, usage: Usage) -> HttpResponseBase:
    response = please_wait(
        request,
        TEMPLATE,
        status=429,
        code="rate_limited",
        title=_("Too many requests"),
        retry_after=usage.retry_after,
    )
    return _marked(response, usage)


def _marked(response: HttpResponseBase, usage: Usage | None) -> HttpResponseBase:
    if usage is not None and not _is_tighter(response, usage):
        response["X-RateLimit-Limit"] = str(usage.limit)
        response["X-RateLimit-Remaining"] = str(usage.remaining)
        response["X-RateLimit-Reset"] = str(usage.reset_after)
    return response


def _is_tighter(response: HttpResponseBase, usage: Usage) -> bool:
    """Say whether another limit of the same view has left less than this one."""
    left = response.get("X-RateLimit-Remaining", "")
    return left.isdecimal() and int(left) <= usage.remaining
