"""The rows of provider identities, and what may be written to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from crossauth_django.conf import conf
from crossauth_django.exceptions import AccountLinkedError
from crossauth_django.managers.identifiers import is_storable, storable, to_pk
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.tables import rows

if TYPE_CHECKING:
    from crossauth_django.protocols import SocialAccount, SocialAccountCreate

# The constraint's name, which PostgreSQL and MySQL say when it is in the way.
_ONE_OWNER = "crossauth_identity_has_one_owner"


def attach(data: SocialAccountCreate, *, using: str) -> Any:
    """Insert the identity for ``data["user_id"]``, inside the caller's transaction.

    Return the row as it is when the same user has it already; raise ``AccountLinkedError`` when
    somebody else has, or when it is connected without being a login method and should be one.
    """
    values = _insertable(data)
    found = identity_rows(using, data["provider"], data["provider_user_id"])
    existing: SocialAccount | None = only(found)
    if existing is None:
        try:
            with transaction.atomic(using=using):
                account: SocialAccount = found.create(**values)
                return account
        except IntegrityError as error:
            existing = only(found.all())
            if existing is None:
                if _ONE_OWNER not in str(error):
                    raise
                # Above READ COMMITTED this transaction does not see who came just now.
                raise refusal(
                    AccountLinkedError, "the identity was taken at this moment"
                ) from error
    if existing.user_id != data["user_id"]:
        raise refusal(AccountLinkedError, "the identity has another owner")
    if data["is_login_method"] and not existing.is_login_method:
        raise refusal(AccountLinkedError, "the identity is connected without sign-in")
    return existing


def _insertable(data: SocialAccountCreate) -> dict[str, Any]:
    refuse_extra(data["extra_fields"])
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


def refuse_extra(extra_fields: Mapping[str, Any] | None) -> None:
    """Raise ``TypeError`` for fields that a connection has not."""
    if extra_fields:
        raise TypeError(
            f"SocialAccount has no extra fields, got {sorted(extra_fields)}"
        )


def social_accounts(using: str) -> Any:
    """Return all connections on one database."""
    return rows("SocialAccount", using=using)


def identity_rows(using: str, provider: str, provider_user_id: str) -> Any:
    """Return the rows of an identity, compared exactly; there is one at most."""
    found = social_accounts(using)
    if is_storable(provider) and is_storable(provider_user_id):
        return found.filter(provider=provider, provider_user_id=provider_user_id)
    return found.none()


def by_id(using: str, social_account_id: Any) -> Any:
    """Return the rows with the id, native or as text: one or none."""
    found = social_accounts(using)
    pk = to_pk(found.model, social_account_id)
    return found.none() if pk is None else found.filter(pk=pk)


def only(accounts: Any) -> Any:
    """Return the one row, or None."""
    # get() raises on two rows; the unique identity lets there be one.
    try:
        return accounts.get()
    except accounts.model.DoesNotExist:
        return None
