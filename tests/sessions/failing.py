"""A previous engine whose server does not answer what ``fails`` names."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends import db

fails: set[str] = set()


class SessionStore(db.SessionStore):
    def load(self) -> Any:
        _answer("load")
        return super().load()

    def delete(self, session_key: str | None = None) -> None:
        _answer("delete")
        super().delete(session_key)


def _answer(what: str) -> None:
    if what in fails:
        raise ConnectionError(what)
