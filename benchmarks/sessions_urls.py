"""The one page that ``benchmarks.sessions`` asks for, and those that allauth wants to know."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.user.pk))


urlpatterns = [path("", who)]
try:
    urlpatterns.append(path("accounts/", include("allauth.urls")))
except Exception:  # noqa: BLE001  (not installed in this contender's process)
    pass
