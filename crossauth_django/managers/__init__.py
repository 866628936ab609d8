"""The managers of the models: they keep the rules that a constraint alone cannot."""

from __future__ import annotations

from crossauth_django.managers.accounts import AccountsManager
from crossauth_django.managers.sessions import UserSessionManager
from crossauth_django.managers.social import SocialAccountManager

__all__ = ["AccountsManager", "SocialAccountManager", "UserSessionManager"]
