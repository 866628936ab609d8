"""Provider identities: found by any reader, written in one transaction each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, transaction
from django.views.decorators.debug import sensitive_variables

from crossauth_django.eventloop import is_loop_running, off_loop
from crossauth_django.exceptions import AccountMissingError
from crossauth_django.fields import utc_now
from crossauth_django.managers.identifiers import is_storable, to_pk
from crossauth_django.managers.identities import (
    attach,
    by_id,
    credentials,
    identity_rows,
    only,
    refuse_extra,
    social_accounts,
)
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.transactions import in_transaction, lock_user
from crossauth_django.managers.users import is_password_way_in

if TYPE_CHECKING:
    from crossauth_django.protocols import (
        DisconnectResult,
        SocialAccount,
        SocialAccountCreate,
    )

M = TypeVar("M", bound=models.Model)


class SocialAccountManager(models.Manager[M]):
    """``SocialAccount.objects``; ``user.social_accounts`` is one of them and can be iterated."""

    @off_loop
    def __iter__(self) -> Iterator[M]:
        return iter(list(self.all()))


class IdentityMethods:
    """The half of the ``AccountsStorage`` protocol that is about provider identities."""

    @abstractmethod
    def _user_model(self) -> type[AbstractBaseUser]: ...

    @abstractmethod
    def _read_alias(self) -> str: ...

    @abstractmethod
    def _write_alias(self) -> str: ...

    @abstractmethod
    def _users(self, using: str) -> models.QuerySet[Any]: ...

    @off_loop
    def find_social_account(
        self,
        *,
        provider: str,
        provider_user_id: str,
        user_id: Any | None = None,
        is_login_method: bool | None = None,
    ) -> SocialAccount | None:
        """Return the connection that all filters fit, or None.

        Compared exactly and case-sensitively on every database.
        """
        found = identity_rows(self._read_alias(), provider, provider_user_id)
        if user_id is not None:
            found = found.filter(user_id=to_pk(self._user_model(), user_id))
        if is_login_method is not None:
            found = found.filter(is_login_method=is_login_method)
        account: SocialAccount | None = only(found)
        return account

    @off_loop
    def has_social_account(self, *, provider: str, provider_user_id: str) -> bool:
        """Say whether anybody owns the identity, signing in with it or not."""
        found = identity_rows(self._read_alias(), provider, provider_user_id)
        return bool(found.exists())

    @off_loop
    def find_social_account_by_id(self, social_account_id: Any) -> SocialAccount | None:
        """Return the connection, or None for an unknown or malformed id."""
        account: SocialAccount | None = only(
            by_id(self._read_alias(), social_account_id)
        )
        return account

    @off_loop
    def list_social_accounts(self, *, user_id: Any) -> list[SocialAccount]:
        """Return the user's connections in the order in which they were made."""
        pk = to_pk(self._user_model(), user_id)
        return list(
            social_accounts(self._read_alias()).filter(user_id=pk).order_by("pk")
        )

    @off_loop
    @sensitive_variables()
    def create_social_account(
        self,
        *,
        user_id: Any,
        provider: str,
        provider_user_id: str,
        access_token: str | None,
        refresh_token: str | None,
        access_token_expires_at: datetime | None,
        refresh_token_expires_at: datetime | None,
        scope: str | None,
        user_info: dict[str, Any],
        provider_email: str | None,
        provider_email_verified: bool | None,
        is_login_method: bool,
        extra_fields: Mapping[str, Any] | None = None,
    ) -> SocialAccount:
        """Connect an identity to a user, in one transaction, and return the row.

        The same owner's retry gets the row as it is: no credential is overwritten. Raise
        ``AccountLinkedError`` when the identity has another owner, or would become a login
        method by it, and ``AccountMissingError`` when there is no such user.
        """
        using = self._write_alias()
        data: SocialAccountCreate = {
            "user_id": to_pk(self._user_model(), user_id),
            "provider": provider,
            "provider_user_id": provider_user_id,
            "access_token": access_token,
            "refresh_token": refresh_token,
            "access_token_expires_at": access_token_expires_at,
            "refresh_token_expires_at": refresh_token_expires_at,
            "scope": scope,
            "user_info": user_info,
            "provider_email": provider_email,
            "provider_email_verified": provider_email_verified,
            "is_login_method": is_login_method,
            "extra_fields": extra_fields,
        }

        def work() -> SocialAccount:
            # A foreign key is checked at commit, too late to leave an outer transaction whole.
            if not lock_user(self._users(using), data["user_id"]):
                raise refusal(AccountMissingError, "no such user")
            account: SocialAccount = attach(data, using=using)
            return account

        return in_transaction(work, using=using)

    @off_loop
    @sensitive_variables()
    def update_social_account(
        self,
        social_account_id: Any,
        *,
        access_token: str | None,
        refresh_token: str | None,
        access_token_expires_at: datetime | None,
        refresh_token_expires_at: datetime | None,
        scope: str | None,
        user_info: dict[str, Any],
        provider_email: str | None,
        provider_email_verified: bool | None,
        enable_login: bool = False,
        extra_fields: Mapping[str, Any] | None = None,
    ) -> SocialAccount:
        """Overwrite the credentials, with None too, in one UPDATE, and return the row.

        ``enable_login=True`` makes it a login method; False never takes that away. The owner
        stays. Raise ``AccountMissingError``, a ``ValueError``, when there is no such row.
        """
        using = self._write_alias()
        refuse_extra(extra_fields)
        values = credentials(
            {
                "access_token": access_token,
                "refresh_token": refresh_token,
                "access_token_expires_at": access_token_expires_at,
                "refresh_token_expires_at": refresh_token_expires_at,
                "scope": scope,
                "user_info": user_info,
                "provider_email": provider_email,
                "provider_email_verified": provider_email_verified,
            }
        )
        if enable_login:
            values["is_login_method"] = True
        row = by_id(using, social_account_id)

        def work() -> SocialAccount | None:
            is_found = row.update(updated_at=utc_now(), **values)
            return only(row.all()) if is_found else None

        account = in_transaction(work, using=using)
        if account is None:
            raise refusal(AccountMissingError, "no such social account")
        return account

    @off_loop
    def delete_social_account(self, social_account_id: Any) -> None:
        """Delete without a check, for administrators; a missing row is fine."""
        using = self._write_alias()
        row = by_id(using, social_account_id)

        def work() -> None:
            # delete() reads first where a receiver of the project's wants to see the row.
            if row.update(updated_at=utc_now()):
                row.delete()

        in_transaction(work, using=using)

    @off_loop
    def disconnect_social_account(
        self, *, user_id: Any, provider: str, social_account_id: Any
    ) -> DisconnectResult:
        """Delete one of the user's connections, unless it is the last way to sign in.

        Other login methods are alternatives, and a password where ``CROSSAUTH_PASSWORD_LOGIN``
        is on. What signs nobody in may always go. Disconnects of one user wait for each other
        on every database, so two of them cannot remove the last two ways in.
        """
        using = self._write_alias()
        user_pk = to_pk(self._user_model(), user_id)
        rows = by_id(using, social_account_id)
        if not is_storable(provider):
            return "not_found"

        def work() -> DisconnectResult:
            users = self._users(using)
            if not lock_user(users, user_pk):
                return "not_found"
            account = rows.filter(user_id=user_pk, provider=provider).first()
            if account is None:
                return "not_found"
            if account.is_login_method and not _has_other_way_in(users, account, using):
                return "last_login_method"
            account.delete(using=using)
            return "disconnected"

        return in_transaction(work, using=using)

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back when what was written is durable: at once outside a transaction.

        Inside one, after the outermost commit; dropped when it, or the savepoint, is rolled
        back. An exception of the callback propagates; it undoes nothing.
        """
        if is_loop_running():
            # What was written there was committed on another thread before it returned.
            callback()
            return
        transaction.on_commit(callback, using=self._write_alias(), robust=False)


def _has_other_way_in(
    users: models.QuerySet[Any], account: SocialAccount, using: str
) -> bool:
    others = social_accounts(using).filter(
        user_id=account.user_id, is_login_method=True
    )
    if others.exclude(pk=account.id).exists():
        return True
    return is_password_way_in(users.get(pk=account.user_id))
