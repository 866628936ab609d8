"""The app's own tables, which this layer cannot import."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models


def rows(name: str, *, using: str) -> models.QuerySet[Any]:
    """Return all rows of the app's model ``name`` on one database."""
    model: Any = apps.get_model("crossauth_django", name)
    found: models.QuerySet[Any] = model._default_manager.using(using)
    return found
