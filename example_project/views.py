"""The example's three pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView
from django.views.generic import TemplateView

from example_project import demo_account


class HomeView(TemplateView):
    template_name = "example/home.html"


class SignInView(LoginView):
    template_name = "example/sign_in.html"
    form_class = AuthenticationForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            providers=settings.CROSSAUTH_PROVIDERS,
            demo_account=demo_account if settings.DEBUG else None,
            **kwargs,
        )


class AccountView(LoginRequiredMixin, TemplateView):
    template_name = "example/account.html"
