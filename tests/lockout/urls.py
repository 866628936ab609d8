from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth import aauthenticate, alogin, authenticate, login
from django.contrib.auth.views import LoginView
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from crossauth_django.exceptions import RateLimitedError

# What happens between the password and the end of the request.
BEFORE_THE_END: list[Any] = []


class LoginWithoutPage(LoginView):
    """Django's own, without the template that a project brings."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        request._dont_enforce_csrf_checks = True
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse("form")

    def form_invalid(self, form: Any) -> HttpResponse:
        return HttpResponse("wrong")

    def get_success_url(self) -> str:
        return "/"


def json_login(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, **json.loads(request.body))
    if user is None:
        return JsonResponse({"ok": False}, status=401)
    login(request, user)
    return JsonResponse({"ok": True})


def json_check(request: HttpRequest) -> HttpResponse:
    """An API that signs nobody in."""
    user = authenticate(request, **json.loads(request.body))
    for happens in BEFORE_THE_END:
        happens()
    return JsonResponse({"ok": user is not None}, status=200 if user else 401)


async def async_login(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, **json.loads(request.body))
    if user is None:
        return JsonResponse({"ok": False}, status=401)
    await alogin(request, user)
    return JsonResponse({"ok": True})


async def async_check(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, **json.loads(request.body))
    for happens in BEFORE_THE_END:
        happens()
    return JsonResponse({"ok": user is not None}, status=200 if user else 401)


def two_names(request: HttpRequest) -> HttpResponse:
    """Tries what was typed as one thing and then as another."""
    body = json.loads(request.body)
    password = body["password"]
    found = [
        authenticate(request, username=n, password=password) for n in body["names"]
    ]
    return JsonResponse({"ok": any(found)})


def crash_afterwards(request: HttpRequest) -> HttpResponse:
    authenticate(request, **json.loads(request.body))
    raise RuntimeError("after the password")


def unavailable_afterwards(request: HttpRequest) -> HttpResponse:
    authenticate(request, **json.loads(request.body))
    return HttpResponse(status=503)


ANSWERS = {
    "403": PermissionDenied,
    "404": Http404,
    "400": BadRequest,
    "suspicious": SuspiciousOperation,
    "limited": lambda text: RateLimitedError(3),
}


def answer_by_an_error(request: HttpRequest, kind: str) -> HttpResponse:
    authenticate(request, **json.loads(request.body))
    raise ANSWERS[kind]("no such thing")


def made_up(request: HttpRequest) -> HttpResponse:
    """Hands a request of its own to ``authenticate()``, as OAuth libraries do."""
    other = HttpRequest()
    other.META = {"REMOTE_ADDR": "203.0.113.9"}
    user = authenticate(other, **json.loads(request.body))
    return JsonResponse({"ok": user is not None})


async def async_made_up(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(HttpRequest(), **json.loads(request.body))
    return JsonResponse({"ok": user is not None})


def four_eyes(request: HttpRequest) -> HttpResponse:
    """Asks two people for their passwords, and signs the first one in."""
    people = [authenticate(request, **each) for each in json.loads(request.body)]
    login(request, people[0])
    return JsonResponse({"ok": all(people)})


urlpatterns = [
    path("made-up/", csrf_exempt(made_up)),
    path("async-made-up/", csrf_exempt(async_made_up)),
    path("four-eyes/", csrf_exempt(four_eyes)),
    path("answer/<kind>/", csrf_exempt(answer_by_an_error)),
    path("auth/", include("crossauth_django.urls")),
    path("admin/", admin.site.urls),
    path("login/", csrf_exempt(LoginWithoutPage.as_view())),
    path("json/", csrf_exempt(json_login)),
    path("check/", csrf_exempt(json_check)),
    path("async/", csrf_exempt(async_login)),
    path("async-check/", csrf_exempt(async_check)),
    path("two-names/", csrf_exempt(two_names)),
    path("crash/", csrf_exempt(crash_afterwards)),
    path("unavailable/", csrf_exempt(unavailable_afterwards)),
]
