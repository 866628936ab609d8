"""The tables; the rules are in ``managers``."""

from __future__ import annotations

from crossauth_django.models.accounts import (
    AbstractUser,
    AddressLock,
    SocialAccount,
    User,
    VerifiedEmail,
)
from crossauth_django.models.sessions import SessionsEnd, UserSession, new_handle

__all__ = [
    "AbstractUser",
    "AddressLock",
    "SessionsEnd",
    "SocialAccount",
    "User",
    "UserSession",
    "VerifiedEmail",
    "new_handle",
]
