"""Provider identities: found by any reader, written in one transaction each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, models, transaction

from crossauth_django.conf import conf
from crossauth_django.eventloop import is_loop_running, off_loop
from crossauth_django.exceptions import AccountLinkedError, AccountMissingError
from crossauth_django.fields import utc_now
from crossauth_django.managers.identifiers import is_storable, storable, to_pk
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.tables import rows
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
        account: SocialAccount | None = _only(found)
        return account

    @off_loop
    def has_social_account(self, *, provider: str, provider_user_id: str) -> bool:
        """Say whether anybody owns the identity, signing in with it or not."""
        found = identity_rows(self._read_alias(), provider, provider_user_id)
        return bool(found.exists())

    @off_loop
    def find_social_account_by_id(self, social_account_id: Any) -> SocialAccount | None:
        """Return the connection, or None for an unknown or malformed id."""
        account: SocialAccount | None = _only(
            _by_id(self._read_alias(), social_account_id)
        )
        return account

    @off_loop
    def list_social_accounts(self, *, user_id: Any) -> list[SocialAccount]:
        """Return the user's connections in the order in which they were made."""
        pk = to_pk(self._user_model(), user_id)
        return list(_accounts(self._read_alias()).filter(user_id=pk).order_by("pk"))

    @off_loop
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
        _refuse_extra(extra_fields)
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
        row = _by_id(using, social_account_id)

        def work() -> SocialAccount | None:
            is_found = row.update(updated_at=utc_now(), **values)
            return _only(row.all()) if is_found else None

        account = in_transaction(work, using=using)
        if account is None:
            raise refusal(AccountMissingError, "no such social account")
        return account

    @off_loop
    def delete_social_account(self, social_account_id: Any) -> None:
        """Delete without a check, for administrators; a missing row is fine."""
        using = self._write_alias()
        row = _by_id(using, social_account_id)
        in_transaction(row.delete, using=using)

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
        rows = _by_id(using, social_account_id)
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


def attach(data: SocialAccountCreate, *, using: str) -> Any:
    """Insert the identity for ``data["user_id"]``, inside the caller's transaction.

    Return the row as it is when the same user has it already; raise ``AccountLinkedError`` when
    somebody else has, or when it is connected without being a login method and should be one.
    """
    values = _insertable(data)
    found = identity_rows(using, data["provider"], data["provider_user_id"])
    existing: SocialAccount | None = _only(found)
    if existing is None:
        try:
            with transaction.atomic(using=using):
                account: SocialAccount = found.create(**values)
                return account
        except IntegrityError:
            existing = _only(found.all())
            if existing is None:
                raise
    if existing.user_id != data["user_id"]:
        raise refusal(AccountLinkedError, "the identity has another owner")
    if data["is_login_method"] and not existing.is_login_method:
        raise refusal(AccountLinkedError, "the identity is connected without sign-in")
    return existing


def _has_other_way_in(
    users: models.QuerySet[Any], account: SocialAccount, using: str
) -> bool:
    others = _accounts(using).filter(user_id=account.user_id, is_login_method=True)
    if others.exclude(pk=account.id).exists():
        return True
    return is_password_way_in(users.get(pk=account.user_id))


def _insertable(data: SocialAccountCreate) -> dict[str, Any]:
    _refuse_extra(data["extra_fields"])
    return {
        "user_id": data["user_id"],
        "provider": _short(data["provider"], 64),
        "provider_user_id": _short(data["provider_user_id"], 255),
        "is_login_method": data["is_login_method"],
        **credentials(data),
    }


def credentials(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that every sign-in brings up to date, as they may be stored."""
    is_kept = conf.CROSSAUTH_STORE_PROVIDER_TOKENS
    email = storable(data["provider_email"])
    return {
        "access_token": data["access_token"] if is_kept else None,
        "refresh_token": data["refresh_token"] if is_kept else None,
        "access_token_expires_at": data["access_token_expires_at"],
        "refresh_token_expires_at": data["refresh_token_expires_at"],
        "scope": storable(data["scope"]),
        "user_info": storable(data["user_info"]),
        "provider_email": email and _short(email, 320),
        "provider_email_verified": data["provider_email_verified"],
    }


def _short(text: str, limit: int) -> str:
    # SQLite would store a longer one, MySQL cut it off, PostgreSQL raise.
    if not is_storable(text) or len(text) > limit:
        raise ValueError(f"{text!r} is not 1 to {limit} characters of text")
    return text


def _refuse_extra(extra_fields: Mapping[str, Any] | None) -> None:
    if extra_fields:
        raise TypeError(
            f"SocialAccount has no extra fields, got {sorted(extra_fields)}"
        )


def _accounts(using: str) -> Any:
    return rows("SocialAccount", using=using)


def identity_rows(using: str, provider: str, provider_user_id: str) -> Any:
    """Return the rows of an identity, compared exactly; there is one at most."""
    found = _accounts(using)
    if is_storable(provider) and is_storable(provider_user_id):
        return found.filter(provider=provider, provider_user_id=provider_user_id)
    return found.none()


def _by_id(using: str, social_account_id: Any) -> Any:
    found = _accounts(using)
    pk = to_pk(found.model, social_account_id)
    return found.none() if pk is None else found.filter(pk=pk)


def _only(accounts: Any) -> Any:
    # get() raises on two rows; the unique identity lets there be one.
    try:
        return accounts.get()
    except accounts.model.DoesNotExist:
        return None
