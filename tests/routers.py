from __future__ import annotations

from typing import Any


class CacheTableRouter:
    """``cache_<alias>`` is a table of database ``<alias>``."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return _database(model)

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        wanted = _database(hints.get("model"))
        return None if wanted is None else db == wanted


class Everything:
    """Every model is in one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


def _database(model: Any) -> str | None:
    table = getattr(getattr(model, "_meta", None), "db_table", "")
    return table.removeprefix("cache_") if table.startswith("cache_") else None
