"""The example's three pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView
from django.views.generic import TemplateView

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
        return super().get_context_data(connected=connected, **kwargs)
