"""The public face of the storage protocols."""

from __future__ import annotations

from crossauth_django.storage.accounts import AccountsStorage
from crossauth_django.storage.secondary import SecondaryStorage
from crossauth_django.storage.sessions import SessionStorage

__all__ = ["AccountsStorage", "SecondaryStorage", "SessionStorage"]
