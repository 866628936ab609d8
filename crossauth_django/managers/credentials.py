"""What a session began with: fingerprints of its user's password and address."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import get_hasher, identify_hasher

from crossauth_django import crypto
from crossauth_django.fields import normalize_email

# Columns of a session's row, and what ends it when they are no longer the user's.
REASONS = {
    "password_fingerprint": "password_reset",
    "email_fingerprint": "email_changed",
}


def fingerprints(user: AbstractBaseUser) -> tuple[str, str]:
    """Return what stands for the user's password and address in their sessions' rows.

    Not keyed, so that a rotation of ``SECRET_KEY`` ends nothing; the password's is a digest of
    its salted hash.
    """
    email = getattr(user, user.get_email_field_name(), None)
    email = normalize_email(email) if isinstance(email, str) else ""
    return password_fingerprint(user), crypto.digest(f"email:{user.pk}:{email}")[:32]


def password_fingerprint(user: AbstractBaseUser) -> str:
    return crypto.digest(f"password:{user.pk}:{user.password}")[:32]


class Login(NamedTuple):
    """What of the user a sign-in has looked at."""

    password_fingerprint: str
    email_fingerprint: str
    is_active: bool

    @classmethod
    def of(cls, user: AbstractBaseUser) -> Login:
        return cls(*fingerprints(user), user.is_active)


def reason_to_end(row: Any, user: AbstractBaseUser) -> str | None:
    """Say what is no longer as it was when this user's session began; None when all is."""
    prints = zip(REASONS.items(), fingerprints(user), strict=True)
    changed = (why for (column, why), now in prints if getattr(row, column) != now)
    return next(changed, None)


def saved_fingerprints(
    user: AbstractBaseUser, update_fields: Collection[str] | None
) -> dict[str, str]:
    """Return by column those that a ``save()`` of these fields writes; None is all of them.

    What else has changed in memory is not the user's yet.
    """
    fields = ("password", user.get_email_field_name())
    prints = zip(REASONS, fields, fingerprints(user), strict=True)
    return {
        column: value
        for column, field, value in prints
        if update_fields is None or field in update_fields
    }


def may_be_renewal(
    user: AbstractBaseUser, update_fields: Collection[str] | None
) -> bool:
    """Say whether a ``save()`` looks like that of ``check_password()``, which renews a hash.

    It alone saves nothing else and has taken the raw password away before.
    """
    is_taken_away = vars(user).get("_password", "") is None
    return (
        is_taken_away and update_fields is not None and [*update_fields] == ["password"]
    )


def is_new_password(
    user: AbstractBaseUser, update_fields: Collection[str] | None
) -> bool:
    """Say whether a ``save()`` is there to write another password.

    It follows ``set_password()``, or names the field and renews no hash. A save of everything else
    that happens to write another hash, too, is not told from the many that do not.
    """
    if update_fields is None:
        return vars(user).get("_password") is not None
    return "password" in update_fields and not may_be_renewal(user, update_fields)


def is_outdated(encoded: str) -> bool:
    """Say whether ``check_password()`` renews this hash: Django's own rule."""
    try:
        hasher = identify_hasher(encoded)
    except ValueError:
        return False
    preferred = get_hasher()
    if hasher.algorithm != preferred.algorithm:
        return True
    return preferred.must_update(encoded)
