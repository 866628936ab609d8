"""Answers to who has to wait: a page for people, ``application/problem+json`` for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers, patch_vary_headers

logger = logging.getLogger("crossauth_django")

_HTML = "text/html"
_PROBLEM = "application/problem+json"
_JSON = ("application/json", _PROBLEM)


class Answer(HttpResponse):
    """A response with work that follows it, when the visitor has it.

    A WSGI server keeps the connection, which it would close or answer the next request on, until
    the work is done; an ASGI server does not.
    """

    after: Callable[[], None] | None = None

    def close(self) -> None:
        after, self.after = self.after, None
        try:
            if after is not None:
                after()
        except Exception:  # The visitor has the answer, and the server has to close it.
            logger.exception("What follows an answer failed")
        finally:
            super().close()


class TemplateAnswer(Answer):
    """One in the place of a ``TemplateResponse``: middleware that is handed it finds what that has.

    No other has a ``render``: a decorator like ``csrf_protect`` would take it for one that is still
    to be rendered, and ask to be called back then.
    """

    def __init__(self, *args: Any, template: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.template_name = template
        self.context_data: dict[str, Any] = {}

    def render(self) -> TemplateAnswer:
        return self


def please_wait(
    request: HttpRequest,
    template: str,
    *,
    status: int,
    code: str,
    title: str,
    retry_after: int,
    replaced: HttpResponseBase | None = None,
) -> Answer:
    """Answer with ``Retry-After`` in seconds.

    The template gets ``code``, ``title``, ``retry_after`` and the same in ``minutes``.

    A problem document (RFC 9457) by ``Accept``, for a JSON body, in the place of a JSON response,
    and on a site that has no such page, as one without ``TEMPLATES``. Nothing in it depends on who
    asked, and nothing of it is cached.
    """
    context = {"code": code, "title": title, "retry_after": retry_after}
    page = None if wants_json(request, replaced) else _page(template)
    if page is None:
        body = {"type": "about:blank", "status": status, **context}
        content, content_type = json.dumps(body), _PROBLEM
    else:
        minutes = -(-retry_after // 60)
        content = page.render({**context, "minutes": minutes}, request)
        content_type = _HTML
    about: Any = {"content_type": f"{content_type}; charset=utf-8", "status": status}
    if isinstance(replaced, TemplateResponse) and not replaced.is_rendered:
        response: Answer = TemplateAnswer(content, template=template, **about)
    else:
        response = Answer(content, **about)
    response["Retry-After"] = str(retry_after)
    add_never_cache_headers(response)
    patch_vary_headers(response, ["Accept"])
    return response


def _page(template: str) -> Any | None:
    try:
        return get_template(template)
    except TemplateDoesNotExist:
        return None


def wants_json(request: HttpRequest, replaced: HttpResponseBase | None = None) -> bool:
    """Say whether a program asked: by ``Accept``, by a JSON body, or by what it would have got."""
    if "HTTP_ACCEPT" in request.META:
        preferred = _preferred(request)
        if preferred in _JSON:
            return True
        if preferred is not None and not _takes_anything(request):
            return False
    if _is_json(request.content_type or ""):
        return True
    return replaced is not None and _is_json(replaced.get("Content-Type", ""))


def _preferred(request: HttpRequest) -> str | None:
    # Django compares parameters, too: who asks for "application/json; version=2" wants none of ours.
    without = HttpRequest()
    try:
        without.META["HTTP_ACCEPT"] = ",".join(
            f"{each.main_type}/{each.sub_type};q={each.quality}"
            for each in request.accepted_types
        )
    except (LookupError, ValueError):
        # A parameter in an encoding that there is not (RFC 2231).
        return None
    return without.get_preferred_type([_HTML, *_JSON])


def _takes_anything(request: HttpRequest) -> bool:
    # "*/*" alone is what programs send that were told nothing.
    return str(request.META["HTTP_ACCEPT"]).strip() == "*/*"


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")
