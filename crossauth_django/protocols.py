"""The typing protocols that the storages satisfy, and that projects may annotate with.

They are supersets of what cross-auth 0.12 and 0.41 ask for; neither is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

DisconnectResult: TypeAlias = Literal["disconnected", "not_found", "last_login_method"]
SessionStatus: TypeAlias = Literal["active", "expired", "revoked"]
SessionListOrder: TypeAlias = Literal[
    "updated_at_desc",
    "updated_at_asc",
    "created_at_desc",
    "created_at_asc",
    "expires_at_desc",
    "expires_at_asc",
]


class SocialAccount(Protocol):
    """A provider identity: (provider, provider_user_id), never an e-mail address."""

    @property
    def id(self) -> Any: ...
    @property
    def user_id(self) -> Any: ...
    @property
    def provider(self) -> str: ...
    @property
    def provider_user_id(self) -> str: ...
    @property
    def provider_email(self) -> str | None: ...
    @property
    def provider_email_verified(self) -> bool | None:
        """None when the provider did not say."""
        ...

    @property
    def is_login_method(self) -> bool:
        """False for an identity that is connected but signs nobody in."""
        ...

    @property
    def access_token(self) -> str | None: ...
    @property
    def refresh_token(self) -> str | None: ...
    @property
    def access_token_expires_at(self) -> datetime | None: ...
    @property
    def refresh_token_expires_at(self) -> datetime | None: ...
    @property
    def scope(self) -> str | None: ...


class User(Protocol):
    """What a storage says about a user; ``native`` models have more."""

    @property
    def id(self) -> Any: ...
    @property
    def email(self) -> Any:
        """The address, None when blank (text for cross-auth 0.12, text or None for 0.41)."""
        ...

    @property
    def email_verified(self) -> bool:
        """True only while the current address is the one that was verified."""
        ...

    @property
    def hashed_password(self) -> str | None:
        """A bare bcrypt hash (``$2b$...``) when Django stores one, else None."""
        ...

    @property
    def has_usable_password(self) -> Any:
        """Whether a password can sign the user in; read it as an attribute."""
        ...

    @property
    def social_accounts(self) -> Iterable[SocialAccount]: ...


class UserCreate(TypedDict):
    """A user to be made."""

    user_info: dict[str, Any]
    email: str
    email_verified: bool
    extra_fields: Mapping[str, Any] | None


class SocialAccountCreate(TypedDict):
    """A provider identity to be made."""

    user_id: Any
    provider: str
    provider_user_id: str
    access_token: str | None
    refresh_token: str | None
    access_token_expires_at: datetime | None
    refresh_token_expires_at: datetime | None
    scope: str | None
    user_info: dict[str, Any]
    provider_email: str | None
    provider_email_verified: bool | None
    is_login_method: bool
    extra_fields: Mapping[str, Any] | None


class AccountsStorage(Protocol):
    """Users and the provider identities that they own."""

    def find_user_by_email(self, email: str) -> User | None: ...
    def find_user_by_id(self, id: Any) -> User | None: ...  # noqa: A002
    def find_social_account(
        self,
        *,
        provider: str,
        provider_user_id: str,
        user_id: Any | None = None,
        is_login_method: bool | None = None,
    ) -> SocialAccount | None: ...
    def has_social_account(self, *, provider: str, provider_user_id: str) -> bool: ...
    def find_social_account_by_id(
        self, social_account_id: Any
    ) -> SocialAccount | None: ...
    def list_social_accounts(self, *, user_id: Any) -> Iterable[SocialAccount]: ...
    def create_user(
        self,
        *,
        user_info: dict[str, Any],
        email: str,
        email_verified: bool,
        extra_fields: Mapping[str, Any] | None = None,
    ) -> User: ...
    def create_user_with_identity(
        self, *, user: UserCreate, identity: Callable[[User], SocialAccountCreate]
    ) -> tuple[User, SocialAccount]: ...
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
    ) -> SocialAccount: ...
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
    ) -> SocialAccount: ...
    def delete_social_account(self, social_account_id: Any) -> None:
        """Delete without a check, for administrators."""
        ...

    def disconnect_social_account(
        self, *, user_id: Any, provider: str, social_account_id: Any
    ) -> DisconnectResult: ...
    def on_commit(self, callback: Callable[[], None]) -> None: ...


class SecondaryStorage(Protocol):
    """Short-lived text under a key; ``ttl`` in seconds, None until deleted."""

    def set(self, key: str, value: str, ttl: int | None = None) -> None: ...
    def get(self, key: str) -> str | None: ...
    def delete(self, key: str) -> None: ...
    def pop(self, key: str) -> str | None:
        """Return the value to exactly one caller and forget it."""
        ...


class SessionRecord(Protocol):
    """A session or bearer token, by its digest."""

    @property
    def id(self) -> Any: ...
    @property
    def user_id(self) -> Any: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime: ...
    @property
    def last_active_at(self) -> datetime | None: ...
    @property
    def revoked_at(self) -> datetime | None: ...
    @property
    def client_id(self) -> str | None: ...
    @property
    def client_name(self) -> str | None: ...
    @property
    def user_agent(self) -> str | None: ...
    @property
    def ip(self) -> str | None: ...
    @property
    def status(self) -> SessionStatus: ...


class SessionListResult(Protocol):
    """One page of sessions; ``next_cursor`` is None on the last."""

    @property
    def records(self) -> Sequence[SessionRecord]: ...
    @property
    def next_cursor(self) -> str | None: ...


class SessionStorage(Protocol):
    """Sessions by ``token_hash``, the SHA-256 of the secret in the cookie or header."""

    def create(
        self,
        *,
        token_hash: str,
        user_id: Any,
        created_at: datetime,
        updated_at: datetime,
        expires_at: datetime,
        client_id: str | None = None,
        client_name: str | None = None,
        user_agent: str | None = None,
        ip: str | None = None,
        last_active_at: datetime | None = None,
    ) -> SessionRecord: ...
    def get(self, *, token_hash: str, now: datetime) -> SessionRecord | None: ...
    def get_any(self, session_id: Any) -> SessionRecord | None: ...
    def list_for_user(
        self,
        user_id: Any,
        *,
        now: datetime,
        status: SessionStatus | None = None,
        order_by: SessionListOrder = "updated_at_desc",
        limit: int = 50,
        cursor: str | None = None,
    ) -> SessionListResult: ...
    def refresh(
        self,
        session_id: Any,
        *,
        updated_at: datetime,
        expires_at: datetime,
        last_active_at: datetime | None = None,
    ) -> SessionRecord | None: ...
    def revoke(self, session_id: Any, *, revoked_at: datetime) -> None: ...
    def revoke_all_for_user(
        self,
        user_id: Any,
        *,
        revoked_at: datetime,
        except_session_id: Any | None = None,
    ) -> int: ...
    def on_commit(self, callback: Callable[[], None]) -> None: ...
