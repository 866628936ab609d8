"""Finds users by address on any database."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from crossauth_django.exceptions import AccountNotLinkedError
from crossauth_django.fields import EmailAddressField, normalize_email
from crossauth_django.managers.identifiers import is_storable
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.users import email_field, email_of


def users_with_address(users: models.QuerySet[Any], email: object) -> list[Any]:
    """Return the users whose address is ``email`` in any spelling."""
    normalized = normalize_email(email) if isinstance(email, str) else ""
    if not is_address(users.model, normalized):
        return []
    field = email_field(users.model)
    if isinstance(field, EmailAddressField):
        return list(users.filter(**{field.name: normalized}))
    name = field.name
    wanted = Q(**{f"{name}__iexact": normalized})
    if not normalized.isascii():
        # SQLite folds the case of ASCII only.
        wanted |= Q(**{f"{name}__iexact": normalized.upper()})
    # MySQL's collations find accents equal; an attacker's address may differ in one.
    return [
        user
        for user in users.filter(wanted)
        if normalize_email(email_of(user) or "") == normalized
    ]


def is_address(model: Any, email: str) -> bool:
    """Say whether the model's column can hold ``email``."""
    return is_storable(email) and len(email) <= (email_field(model).max_length or 320)


def only_user(found: list[Any]) -> Any:
    """Return the one user or None; raise ``AccountNotLinkedError`` when there are several."""
    if len(found) > 1:
        raise refusal(AccountNotLinkedError, "several users have the address")
    return found[0] if found else None
