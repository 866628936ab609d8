"""The app's own tables, which this layer cannot import, and what their database can say of them."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models


def rows(name: str, *, using: str) -> models.QuerySet[Any]:
    """Return all rows of the app's model ``name`` on one database."""
    model: Any = apps.get_model("crossauth_django", name)
    found: models.QuerySet[Any] = model._default_manager.using(using)
    return found


def returns_rows(connection: Any) -> bool:
    """Say whether each statement that writes can have RETURNING.

    Not MySQL, nor an old SQLite; MariaDB has it with some.
    """
    is_able: bool = connection.features.can_return_columns_from_insert
    return is_able and connection.vendor in ("postgresql", "sqlite")
