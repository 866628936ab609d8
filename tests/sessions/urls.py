from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.urls import path


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        str(request.user.pk) if request.user.is_authenticated else "",
        content_type="text/plain",
    )


async def awhoami(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(
        str(user.pk) if user.is_authenticated else "", content_type="text/plain"
    )


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("public", content_type="text/plain")


def put(request: HttpRequest) -> HttpResponse:
    request.session.update(request.GET.dict())
    return HttpResponse("kept", content_type="text/plain")


def kept(request: HttpRequest) -> HttpResponse:
    value: Any = request.session.get(request.GET["name"], "")
    return HttpResponse(value, content_type="text/plain")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", views.LoginView.as_view(template_name="admin/login.html")),
    path("logout/", views.LogoutView.as_view(next_page="/whoami/")),
    path(
        "password/",
        views.PasswordChangeView.as_view(
            success_url="/whoami/", template_name="registration/password_change_form.html"
        ),
    ),
    path("whoami/", whoami),
    path("awhoami/", awhoami),
    path("untouched/", untouched),
    path("put/", put),
    path("kept/", kept),
]
