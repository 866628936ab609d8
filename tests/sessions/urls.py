from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model, login, views
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from crossauth_django import devices, sudo
from crossauth_django.exceptions import LockedOutError
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


def join(request: HttpRequest) -> HttpResponse:
    """Sign in, and complete the account in the same request."""
    user = get_user_model().objects.get(pk=request.POST["pk"])
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    set_email(user, request.POST["email"])
    return HttpResponse("joined", content_type="text/plain")


def flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("flushed", content_type="text/plain")


def list_devices(request: HttpRequest) -> JsonResponse:
    found = devices.list_sessions(request.user)
    answer = [{"handle": each.handle, "current": each.is_current} for each in found]
    return JsonResponse(answer, safe=False)


def others(request: HttpRequest) -> HttpResponse:
    return HttpResponse(devices.revoke_others(request), content_type="text/plain")


def remember(request: HttpRequest) -> HttpResponse:
    pk = request.POST.get("pk", request.user.pk)
    devices.remember(request)
    login(request, get_user_model().objects.get(pk=pk))
    return HttpResponse("remembered", content_type="text/plain")


def elevate(request: HttpRequest) -> HttpResponse:
    try:
        answer = str(sudo.elevate(request, request.POST["password"]))
    except LockedOutError as error:
        answer = f"locked for {error.retry_after} s"
    return HttpResponse(answer, content_type="text/plain")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404(str(request.user.pk))


def confirm(request: HttpRequest) -> HttpResponse:
    """Refuse as most views do: by an exception."""
    if "save" in request.POST:
        request.session.save()
    try:
        is_right = sudo.elevate(request, request.POST["password"])
    except LockedOutError:
        if "raise" in request.POST:
            raise
        return HttpResponse("locked", status=429, content_type="text/plain")
    if not is_right:
        raise PermissionDenied
    return HttpResponse("confirmed", content_type="text/plain")


async def aelevate(request: HttpRequest) -> HttpResponse:
    answer = await sudo.aelevate(request, request.POST["password"])
    return HttpResponse(answer, content_type="text/plain")


def drop(request: HttpRequest) -> HttpResponse:
    sudo.drop(request)
    return HttpResponse("dropped", content_type="text/plain")


async def adrop(request: HttpRequest) -> HttpResponse:
    await sudo.adrop(request)
    answer = str(await sudo.ais_elevated(request))
    return HttpResponse(answer, content_type="text/plain")


class Secret(sudo.SudoRequiredMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return untouched(request)


class AsyncSecret(sudo.SudoRequiredMixin, View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return untouched(request)


async def asecret(request: HttpRequest) -> HttpResponse:
    return untouched(request)


urlpatterns = [
    path("elevate/", csrf_exempt(elevate), name="elevate"),
    path("confirm/", csrf_exempt(confirm)),
    path("aelevate/", csrf_exempt(aelevate)),
    path("drop/", csrf_exempt(drop)),
    path("adrop/", csrf_exempt(adrop)),
    path("secret/", sudo.sudo_required(untouched)),
    path("secret/there/", sudo.sudo_required(url="elevate")(untouched)),
    path("secret/class/", Secret.as_view(sudo_url="elevate")),
    path("secret/class/plain/", Secret.as_view()),
    path("asecret/class/", AsyncSecret.as_view()),
    path("asecret/", sudo.sudo_required(asecret)),
    path("address/", csrf_exempt(address)),
    path("join/", csrf_exempt(join)),
    path("flush/", csrf_exempt(flush)),
    path("devices/", list_devices),
    path("others/", csrf_exempt(others)),
    path("echo/", whoami),
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
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(success_url="/whoami/"),
    ),
    path("missing/", missing),
    path("whoami/", whoami),
    path("awhoami/", awhoami),
    path("untouched/", untouched),
    path("put/", put),
    path("kept/", kept),
]
