"""The example's pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.generic import TemplateView, View

from crossauth_django import devices
from crossauth_django.oauth.registry import list_providers
from example_project import demo_account


class HomeView(TemplateView):
    template_name = "example/home.html"


class SignInView(LoginView):
    template_name = "example/sign_in.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            demo_account=demo_account if settings.DEBUG else None,
            **kwargs,
        )


class AccountView(LoginRequiredMixin, TemplateView):
    template_name = "example/account.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        labels = {provider.name: provider.label for provider in list_providers()}
        connected = [
            (labels.get(account.provider, account.provider), account)
            for account in self.request.user.social_accounts.all()
        ]
        return super().get_context_data(
            connected=connected,
            devices=devices.list_sessions(self.request.user, request=self.request),
            **kwargs,
        )


class EndDeviceView(LoginRequiredMixin, View):
    """Ends one of the user's own sessions; another user's handle ends nothing."""

    def post(self, request: HttpRequest, handle: str) -> HttpResponse:
        devices.revoke(request.user, handle)
        return redirect("account")


class EndOtherDevicesView(LoginRequiredMixin, View):
    def post(self, request: HttpRequest) -> HttpResponse:
        devices.revoke_others(request)
        return redirect("account")
