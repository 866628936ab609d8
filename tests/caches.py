"""The cache aliases that this run has servers for."""

from __future__ import annotations

from django.conf import settings


def aliases(*wanted: str) -> list[str]:
    return [alias for alias in wanted if alias in settings.CACHES]
