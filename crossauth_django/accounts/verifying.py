"""Mark a user's address as verified, and say whether an identity proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from crossauth_django import signals
from crossauth_django.accounts.decisions import send_on_commit, write_alias
from crossauth_django.conf import conf
from crossauth_django.fields import normalize_email
from crossauth_django.managers import users
from crossauth_django.managers.transactions import in_transaction

if TYPE_CHECKING:
    from crossauth_django.protocols import SocialAccountCreate


def mark_email_verified(user: Any) -> None:
    """Record that the address that ``user`` has now was verified, for any user model.

    Without an address nothing is recorded, and nothing is said.
    """
    user = users.itself(user)
    email = users.email_of(user)
    if email is None:
        return
    using = write_alias()
    # Read before the transaction, which has to begin with a write on SQLite.
    was_verified = users.is_email_verified(user)

    def work() -> None:
        users.record_verified_email(user, using=using)
        if not was_verified:
            send_on_commit(signals.email_verified, user, using, email=email)

    in_transaction(work, using=using)


def verify_if_proved(user: Any, identity: SocialAccountCreate, using: str) -> None:
    if not (is_trusted(identity) and has_address_of(user, identity)):
        return
    if not users.is_email_verified(user):
        users.record_verified_email(user, using=using)
        send_on_commit(signals.email_verified, user, using, email=users.email_of(user))


def is_trusted(identity: SocialAccountCreate) -> bool:
    """Say whether the identity proves its address: a provider that is not trusted may lie."""
    return (
        identity["provider_email_verified"] is True
        and identity["provider"] in conf.CROSSAUTH_TRUST_EMAIL_FROM
        and address_of(identity) is not None
    )


def has_address_of(user: Any, identity: SocialAccountCreate) -> bool:
    email = users.email_of(user)
    return email is not None and normalize_email(email) == address_of(identity)


def address_of(identity: SocialAccountCreate) -> str | None:
    email = normalize_email(identity["provider_email"] or "")
    try:
        validate_email(email)
    except ValidationError:
        return None
    return email
