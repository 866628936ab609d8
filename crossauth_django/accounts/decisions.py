"""What decisions about an identity share: its row, its owner's lock, signals on commit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import models, router, transaction
from django.dispatch import Signal

from crossauth_django.conf import conf
from crossauth_django.exceptions import (
    AccountInactiveError,
    AccountMissingError,
    AccountNotLinkedError,
)
from crossauth_django.fields import utc_now
from crossauth_django.managers.accounts import with_record
from crossauth_django.managers.identities import credentials, identity_rows
from crossauth_django.managers.transactions import lock_user

if TYPE_CHECKING:
    from crossauth_django.models import SocialAccount
    from crossauth_django.protocols import SocialAccountCreate

T = TypeVar("T")

# Each lost race was won by somebody, so the next look finds what they wrote.
_ATTEMPTS = 5


def until_decided(decide: Callable[[], T | None]) -> T:
    """Call ``decide`` until nobody has changed the account in between."""
    for _ in range(_ATTEMPTS):
        decided = decide()
        if decided is not None:
            return decided
    raise AccountNotLinkedError("others changed the account all the time")


def find_account(identity: SocialAccountCreate, using: str) -> SocialAccount | None:
    account: SocialAccount | None = _rows(identity, using).first()
    return account


def refresh(
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


def lock_active(pk: Any, using: str) -> Any:
    if not lock_user(user_rows(using), pk):
        raise AccountMissingError("no such user")
    user = user_rows(using).get(pk=pk)
    if not user.is_active:
        raise AccountInactiveError("the user is disabled")
    return user


def user_rows(using: str) -> models.QuerySet[Any]:
    return with_record(get_user_model()._default_manager.using(using))


def write_alias() -> str:
    return router.db_for_write(get_user_model())


def send_on_commit(signal: Signal, user: Any, using: str, **arguments: Any) -> None:
    send = partial(signal.send_robust, sender=type(user), user=user, **arguments)
    transaction.on_commit(send, using=using)


def _rows(identity: SocialAccountCreate, using: str) -> Any:
    return identity_rows(using, identity["provider"], identity["provider_user_id"])
