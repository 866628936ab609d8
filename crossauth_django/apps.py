"""Connects the app when Django starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CrossAuthConfig(AppConfig):
    """``INSTALLED_APPS = [..., "crossauth_django"]``."""

    name = "crossauth_django"
    verbose_name = _("Cross-Auth")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from crossauth_django import checks

        checks.register()
