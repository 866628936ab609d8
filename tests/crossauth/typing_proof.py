"""Type-checked against cross-auth 0.41: our classes satisfy its protocols."""

from __future__ import annotations

from cross_auth import _storage as theirs

from crossauth_django import models, protocols
from crossauth_django.storage import AccountsStorage, SecondaryStorage, SessionStorage
from crossauth_django.storage.accounts import UserView

accounts: theirs.AccountsStorage = AccountsStorage()
manager: theirs.AccountsStorage = models.User.objects
secondary: theirs.SecondaryStorage = SecondaryStorage()
sessions: theirs.SessionStorage = SessionStorage()
session: theirs.SessionRecord = models.UserSession()
view: theirs.User = UserView(models.User())
user: theirs.User = models.User()
account: theirs.SocialAccount = models.SocialAccount()

our_accounts: protocols.AccountsStorage = AccountsStorage()
our_manager: protocols.AccountsStorage = models.User.objects
our_secondary: protocols.SecondaryStorage = SecondaryStorage()
our_sessions: protocols.SessionStorage = SessionStorage()
our_session: protocols.SessionRecord = models.UserSession()
our_view: protocols.User = UserView(models.User())
our_user: protocols.User = models.User()
our_account: protocols.SocialAccount = models.SocialAccount()
