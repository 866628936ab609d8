"""The browsers and tokens that a user is signed in with: list them, end them, issue tokens."""

from __future__ import annotations

from crossauth_django.devices.bearer import (
    aissue_token,
    auser_of_token,
    issue_token,
    user_of_token,
)
from crossauth_django.devices.listing import (
    Device,
    alist_sessions,
    aremember,
    arevoke,
    arevoke_all,
    arevoke_others,
    list_sessions,
    remember,
    revoke,
    revoke_all,
    revoke_others,
)

__all__ = [
    "Device",
    "aissue_token",
    "alist_sessions",
    "aremember",
    "arevoke",
    "arevoke_all",
    "arevoke_others",
    "auser_of_token",
    "issue_token",
    "list_sessions",
    "remember",
    "revoke",
    "revoke_all",
    "revoke_others",
    "user_of_token",
]
