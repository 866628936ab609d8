"""Sign up, sign in, link and unlink: what a verified provider identity means for the accounts.

The caller has verified the identity with its provider. Each function is one decision in one
transaction, safe under any number of simultaneous calls, and sends its signals on commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import OperationalError, models, router, transaction
from django.dispatch import Signal
from django.views.decorators.debug import sensitive_variables

from crossauth_django import signals
from crossauth_django.conf import conf
from crossauth_django.exceptions import (
    AccountInactiveError,
    AccountLinkedError,
    AccountMissingError,
    AccountNotLinkedError,
)
from crossauth_django.fields import normalize_email, utc_now
from crossauth_django.managers import users
from crossauth_django.managers.accounts import with_record
from crossauth_django.managers.identities import attach, credentials, identity_rows
from crossauth_django.managers.lookup import only_user, users_with_address
from crossauth_django.managers.transactions import (
    in_transaction,
    is_transient,
    lock_user,
)
from crossauth_django.storage import AccountsStorage

if TYPE_CHECKING:
    from crossauth_django.models import SocialAccount
    from crossauth_django.protocols import DisconnectResult, SocialAccountCreate

T = TypeVar("T")

# Each lost race was won by somebody, so the next look finds what they wrote.
_ATTEMPTS = 5


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
    using = _alias()
    return _until_decided(lambda: _sign_in(identity, using))


@sensitive_variables()
def link(user: Any, identity: SocialAccountCreate) -> SocialAccount:
    """Connect an identity to a signed-in user, and return the row.

    Linking again brings tokens and profile up to date, and makes the connection a login
    method when ``is_login_method`` says so. Raise ``AccountLinkedError`` when the identity has
    another owner, ``AccountMissingError`` or ``AccountInactiveError`` when the user is gone.
    """
    using = _alias()

    def work() -> SocialAccount | None:
        owner = _lock_active(user.pk, using)
        account = _find(identity, using)
        if account is None or account.user_id != owner.pk:
            account = attach({**identity, "user_id": owner.pk}, using=using)
        elif not _refresh(
            account, identity, using, promote=identity["is_login_method"]
        ):
            return None
        _send(signals.account_linked, owner, using, account=account)
        return account

    return _until_decided(lambda: in_transaction(work, using=using))


def unlink(user: Any, account_id: Any) -> DisconnectResult:
    """Remove one of the user's connections, unless nobody could sign in any more.

    Return ``"disconnected"``, ``"not_found"`` (also for another user's) or
    ``"last_login_method"``; see ``AccountsStorage.disconnect_social_account``.
    """
    user = users.itself(user)
    storage = AccountsStorage()
    account = storage.find_social_account_by_id(account_id)
    if account is None:
        return "not_found"
    result = storage.disconnect_social_account(
        user_id=user.pk, provider=account.provider, social_account_id=account.id
    )
    if result == "disconnected":
        _send(
            signals.account_unlinked,
            user,
            _alias(),
            provider=account.provider,
            provider_user_id=account.provider_user_id,
        )
    return result


def list_accounts(user: Any) -> list[SocialAccount]:
    """Return the user's connections in the order in which they were made."""
    return list(user.social_accounts.order_by("pk"))


def mark_email_verified(user: Any) -> None:
    """Record that the address that ``user`` has now was verified, for any user model.

    Without an address nothing is recorded, and nothing is said.
    """
    user = users.itself(user)
    email = users.email_of(user)
    if email is None:
        return
    using = _alias()
    # Read before the transaction, which has to begin with a write on SQLite.
    was_verified = users.is_email_verified(user)

    def work() -> None:
        users.record_verified_email(user, using=using)
        if not was_verified:
            _send(signals.email_verified, user, using, email=email)

    in_transaction(work, using=using)


def _until_decided(decide: Callable[[], T | None]) -> T:
    """Call ``decide`` until nobody has changed the account in between."""
    for _ in range(_ATTEMPTS):
        decided = decide()
        if decided is not None:
            return decided
    raise AccountNotLinkedError("others changed the account all the time")


def _sign_in(identity: SocialAccountCreate, using: str) -> SignedIn | None:
    """Decide once; None when somebody changed the account in between."""
    account = _find(identity, using)
    if account is not None:
        return _sign_in_owner(account, identity, using)
    email = _address(identity)
    owner = only_user(users_with_address(_users(using), email))
    if owner is not None:
        return _join(owner, identity, using)
    return _sign_up(identity, using)


def _sign_in_owner(
    account: SocialAccount, identity: SocialAccountCreate, using: str
) -> SignedIn | None:
    if not account.is_login_method:
        raise AccountLinkedError("the identity is connected without sign-in")

    def work() -> SignedIn | None:
        if not _refresh(account, identity, using):
            return None
        user = _users(using).get(pk=account.user_id)
        if not user.is_active:
            raise AccountInactiveError("the user is disabled")
        _verify_if_proved(user, identity, using)
        return SignedIn(user, account, created=False)

    return in_transaction(work, using=using)


def _join(owner: Any, identity: SocialAccountCreate, using: str) -> SignedIn | None:
    if not _is_trusted(identity):
        if _find(identity, using) is not None:
            # Signed up between the two looks.
            return None
        raise AccountNotLinkedError("the address belongs to a user")

    def work() -> SignedIn | None:
        user = _lock_active(owner.pk, using)
        if not _has_address_of(user, identity):
            return None
        if not users.is_email_verified(user):
            _claim(user, using)
        account = attach({**identity, "user_id": user.pk}, using=using)
        _verify_if_proved(user, identity, using)
        _send(signals.account_linked, user, using, account=account)
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
    _send(signals.account_claimed, user, using)


def _sign_up(identity: SocialAccountCreate, using: str) -> SignedIn | None:
    try:
        view, row = AccountsStorage().create_user_with_identity(
            user={
                "user_info": identity["user_info"],
                "email": _address(identity) or "",
                "email_verified": _is_trusted(identity),
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
    _send(signals.user_signed_up, view.native, using, account=account)
    return SignedIn(view.native, account, created=True)


def _find(identity: SocialAccountCreate, using: str) -> SocialAccount | None:
    account: SocialAccount | None = _rows(identity, using).first()
    return account


def _refresh(
    account: SocialAccount,
    identity: SocialAccountCreate,
    using: str,
    *,
    promote: bool = False,
) -> bool:
    """Store the latest tokens and profile; False when the connection signs nobody in now."""
    row = _rows(identity, using).filter(pk=account.pk, user_id=account.user_id)
    values = credentials(identity)
    if identity["refresh_token"] is None and conf.CROSSAUTH_STORE_PROVIDER_TOKENS:
        # Providers send it with the first consent only.
        del values["refresh_token"], values["refresh_token_expires_at"]
    if promote:
        values["is_login_method"] = True
    else:
        row = row.filter(is_login_method=account.is_login_method)
    if not row.update(updated_at=utc_now(), **values):
        return False
    account.refresh_from_db(using=using)
    return True


def _lock_active(pk: Any, using: str) -> Any:
    if not lock_user(_users(using), pk):
        raise AccountMissingError("no such user")
    user = _users(using).get(pk=pk)
    if not user.is_active:
        raise AccountInactiveError("the user is disabled")
    return user


def _verify_if_proved(user: Any, identity: SocialAccountCreate, using: str) -> None:
    if not (_is_trusted(identity) and _has_address_of(user, identity)):
        return
    if not users.is_email_verified(user):
        users.record_verified_email(user, using=using)
        _send(signals.email_verified, user, using, email=users.email_of(user))


def _is_trusted(identity: SocialAccountCreate) -> bool:
    """Say whether the identity proves its address: a provider that is not trusted may lie."""
    return (
        identity["provider_email_verified"] is True
        and identity["provider"] in conf.CROSSAUTH_TRUST_EMAIL_FROM
        and _address(identity) is not None
    )


def _has_address_of(user: Any, identity: SocialAccountCreate) -> bool:
    email = users.email_of(user)
    return email is not None and normalize_email(email) == _address(identity)


def _address(identity: SocialAccountCreate) -> str | None:
    email = normalize_email(identity["provider_email"] or "")
    try:
        validate_email(email)
    except ValidationError:
        return None
    return email


def _rows(identity: SocialAccountCreate, using: str) -> Any:
    return identity_rows(using, identity["provider"], identity["provider_user_id"])


def _users(using: str) -> models.QuerySet[Any]:
    return with_record(get_user_model()._default_manager.using(using))


def _alias() -> str:
    return router.db_for_write(get_user_model())


def _send(signal: Signal, user: Any, using: str, **arguments: Any) -> None:
    send = partial(signal.send_robust, sender=type(user), user=user, **arguments)
    transaction.on_commit(send, using=using)
