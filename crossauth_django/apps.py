"""Connects the app when Django starts."""

from __future__ import annotations

import logging
import os
import sys

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from crossauth_django.conf import conf

logger = logging.getLogger("crossauth_django")


class CrossAuthConfig(AppConfig):
    """``INSTALLED_APPS = [..., "crossauth_django"]``."""

    name = "crossauth_django"
    verbose_name = _("Cross-Auth")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from crossauth_django import checks, receivers

        checks.register()
        receivers.connect()
        _warn_on_memory_backend()


def _warn_on_memory_backend() -> None:
    """Say once in each process what it keeps to itself, however it was started."""
    if not conf.CROSSAUTH_WARN_ON_MEMORY_BACKEND or _says_it_elsewhere(sys.argv[1:]):
        return
    from crossauth_django.checks.caches import AT_RISK, is_in_memory

    if not is_in_memory():
        return
    logger.warning(
        "CACHES[%r] is in the memory of this process alone, and with it: %s. With more than "
        "one process, set CROSSAUTH_CACHE_ALIAS to a Redis cache; with one for ever, "
        "CROSSAUTH_WARN_ON_MEMORY_BACKEND = False.",
        conf.CROSSAUTH_CACHE_ALIAS,
        "; ".join(AT_RISK),
    )


def _says_it_elsewhere(arguments: list[str]) -> bool:
    command = arguments[0] if arguments else ""
    if command == "check":
        return "--deploy" in arguments  # W001
    # The autoreloader sets Django up to watch its files; its child, RUN_MAIN, is the server.
    watches = command == "runserver" and "--noreload" not in arguments
    return watches and os.environ.get("RUN_MAIN") != "true"
