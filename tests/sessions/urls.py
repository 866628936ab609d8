from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model, login, views
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from crossauth_django import devices
from tests.accounts.conftest import set_email


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


def address(request: HttpRequest) -> HttpResponse:
    """Change an address as a site's own code does."""
    users = get_user_model().objects
    user = users.get(pk=request.POST.get("pk", request.user.pk))
    set_email(user, request.POST["email"])
    return HttpResponse("changed", content_type="text/plain")


def flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("flushed", content_type="text/plain")


def remember(request: HttpRequest) -> HttpResponse:
    user = request.user
    devices.remember(request)
    login(request, get_user_model().objects.get(pk=user.pk))
    return HttpResponse("remembered", content_type="text/plain")


urlpatterns = [
    path("address/", csrf_exempt(address)),
    path("flush/", csrf_exempt(flush)),
    path("remember/", csrf_exempt(remember)),
    path("admin/", admin.site.urls),
    path("login/", views.LoginView.as_view(template_name="admin/login.html")),
    path("logout/", views.LogoutView.as_view(next_page="/whoami/")),
    path(
        "password/",
        views.PasswordChangeView.as_view(
            success_url="/whoami/",
            template_name="registration/password_change_form.html",
        ),
    ),
    path("whoami/", whoami),
    path("awhoami/", awhoami),
    path("untouched/", untouched),
    path("put/", put),
    path("kept/", kept),
]
