"""Backends that look at more than the name that was typed, and a cache that is busy."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import authenticate
from django.http import Http404

from crossauth_django.exceptions import StoreBusyError


class AsksAboutTheMailbox:
    """Asks, without a request, whether the name is a mailbox with this password."""

    def authenticate(self, request: Any, username: str, password: str) -> None:
        if not username.startswith("mail:"):
            authenticate(username=f"mail:{username}", password=password)


class RaisesNotFound:
    def authenticate(self, request: Any, **credentials: Any) -> None:
        raise Http404


def busy_key(key: str, prefix: str, version: int) -> str:
    """Stands for a key that others hold for too long."""
    raise StoreBusyError("the key stays busy")
