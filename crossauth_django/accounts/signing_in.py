"""Sign in or sign up with a provider identity, or join the user who has its address."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import OperationalError, transaction
from django.views.decorators.debug import sensitive_variables

from crossauth_django import signals
from crossauth_django.accounts.decisions import (
    find_account,
    lock_active,
    refresh,
    send_on_commit,
    until_decided,
    user_rows,
    write_alias,
)
from crossauth_django.accounts.verifying import (
    address_of,
    has_address_of,
    is_trusted,
    verify_if_proved,
)
from crossauth_django.exceptions import (
    AccountInactiveError,
    AccountLinkedError,
    AccountMissingError,
    AccountNotLinkedError,
)
from crossauth_django.managers import users
from crossauth_django.managers.identities import attach
from crossauth_django.managers.lookup import only_user, users_with_address
from crossauth_django.managers.transactions import in_transaction, is_transient
from crossauth_django.storage import AccountsStorage

if TYPE_CHECKING:
    from crossauth_django.models import SocialAccount
    from crossauth_django.protocols import SocialAccountCreate


class SignedIn(NamedTuple):
    """Who signed in, with which connection, and whether the user is new."""

    user: Any
    account: SocialAccount
    created: bool


@sensitive_variables()
def sign_in_identity(
    *,
    provider: str,
    provider_user_id: str,
    email: str | None,
    email_verified: bool | None,
    user_info: dict[str, Any],
    access_token: str | None = None,
    refresh_token: str | None = None,
    access_token_expires_at: datetime | None = None,
    refresh_token_expires_at: datetime | None = None,
    scope: str | None = None,
) -> SignedIn:
    """Return the user who signs in with a provider identity, made now when it is new.

    A known login identity is its owner, whatever the address says; its tokens and profile are
    brought up to date. An unknown one joins the user who has the address only when the provider
    says that the address is verified and is in ``CROSSAUTH_TRUST_EMAIL_FROM``; an account whose
    address nobody verified loses its password and its other connections first, because
    somebody else may have made it. Otherwise it is a new user.

    Raise ``AccountLinkedError`` when the identity is connected without sign-in,
    ``AccountNotLinkedError`` when it must not join the user who has the address,
    ``AccountInactiveError`` when the user is disabled, and ``EmailMissingError`` when a new
    user needs an address and the provider gave none.
    """
    identity: SocialAccountCreate = {
        "user_id": None,
        "provider": provider,
        "provider_user_id": provider_user_id,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "access_token_expires_at": access_token_expires_at,
        "refresh_token_expires_at": refresh_token_expires_at,
        "scope": scope,
        "user_info": user_info,
        "provider_email": email,
        "provider_email_verified": email_verified,
        "is_login_method": True,
        "extra_fields": None,
    }
    using = write_alias()
    return until_decided(lambda: _sign_in(identity, using))


def _sign_in(identity: SocialAccountCreate, using: str) -> SignedIn | None:
    """Decide once; None when somebody changed the account in between."""
    account = find_account(identity, using)
    if account is not None:
        return _sign_in_owner(account, identity, using)
    email = address_of(identity)
    owner = only_user(users_with_address(user_rows(using), email))
    if owner is not None:
        return _join(owner, identity, using)
    return _sign_up(identity, using)


def _sign_in_owner(
    account: SocialAccount, identity: SocialAccountCreate, using: str
) -> SignedIn | None:
    if not account.is_login_method:
        raise AccountLinkedError("the identity is connected without sign-in")

    def work() -> SignedIn | None:
        if not refresh(account, identity, using):
            return None
        user = user_rows(using).get(pk=account.user_id)
        if not user.is_active:
            raise AccountInactiveError("the user is disabled")
        verify_if_proved(user, identity, using)
        return SignedIn(user, account, created=False)

    return in_transaction(work, using=using)


def _join(owner: Any, identity: SocialAccountCreate, using: str) -> SignedIn | None:
    if not is_trusted(identity):
        if find_account(identity, using) is not None:
            # Signed up between the two looks.
            return None
        raise AccountNotLinkedError("the address belongs to a user")

    def work() -> SignedIn | None:
        user = lock_active(owner.pk, using)
        if not has_address_of(user, identity):
            return None
        if not users.is_email_verified(user):
            _claim(user, using)
        account = attach({**identity, "user_id": user.pk}, using=using)
        verify_if_proved(user, identity, using)
        send_on_commit(signals.account_linked, user, using, account=account)
        return SignedIn(user, account, created=False)

    try:
        return in_transaction(work, using=using)
    except (AccountLinkedError, AccountMissingError):
        return None


def _claim(user: Any, using: str) -> None:
    """Take the account from whoever made it with an address that was not proved theirs."""
    user.set_unusable_password()
    user.save(using=using, update_fields=["password"])
    user.social_accounts.using(using).all().delete()
    send_on_commit(signals.account_claimed, user, using)


def _sign_up(identity: SocialAccountCreate, using: str) -> SignedIn | None:
    try:
        view, row = AccountsStorage().create_user_with_identity(
            user={
                "user_info": identity["user_info"],
                "email": address_of(identity) or "",
                "email_verified": is_trusted(identity),
                "extra_fields": None,
            },
            identity=lambda view: {**identity, "user_id": view.id},
        )
    except (AccountLinkedError, AccountNotLinkedError):
        return None
    except OperationalError as error:
        if transaction.get_connection(using).in_atomic_block or not is_transient(error):
            raise
        return None
    account: Any = row
    send_on_commit(signals.user_signed_up, view.native, using, account=account)
    return SignedIn(view.native, account, created=True)
