"""Link and unlink: the connections of a user who is signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.views.decorators.debug import sensitive_variables

from crossauth_django import signals
from crossauth_django.accounts.decisions import (
    find_account,
    lock_active,
    refresh,
    send_on_commit,
    until_decided,
    write_alias,
)
from crossauth_django.managers import users
from crossauth_django.managers.identities import attach
from crossauth_django.managers.transactions import in_transaction
from crossauth_django.storage import AccountsStorage

if TYPE_CHECKING:
    from crossauth_django.models import SocialAccount
    from crossauth_django.protocols import DisconnectResult, SocialAccountCreate


@sensitive_variables()
def link(user: Any, identity: SocialAccountCreate) -> SocialAccount:
    """Connect an identity to a signed-in user, and return the row.

    Linking again brings tokens and profile up to date, and makes the connection a login
    method when ``is_login_method`` says so. Raise ``AccountLinkedError`` when the identity has
    another owner, ``AccountMissingError`` or ``AccountInactiveError`` when the user is gone.
    """
    using = write_alias()

    def work() -> SocialAccount | None:
        owner = lock_active(user.pk, using)
        account = find_account(identity, using)
        if account is None or account.user_id != owner.pk:
            account = attach({**identity, "user_id": owner.pk}, using=using)
        elif not refresh(account, identity, using, promote=identity["is_login_method"]):
            return None
        send_on_commit(signals.account_linked, owner, using, account=account)
        return account

    return until_decided(lambda: in_transaction(work, using=using))


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
        send_on_commit(
            signals.account_unlinked,
            user,
            write_alias(),
            provider=account.provider,
            provider_user_id=account.provider_user_id,
        )
    return result


def list_accounts(user: Any) -> list[SocialAccount]:
    """Return the user's connections in the order in which they were made."""
    return list(user.social_accounts.order_by("pk"))
