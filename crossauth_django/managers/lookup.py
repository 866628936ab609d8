"""Finds users by address on any database."""

from __future__ import annotations

import re
from typing import Any

from django.db import connections, models
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
        wanted |= _spelt_beyond_ascii(name, normalized, using=users.db)
    # MySQL's collations find accents equal; an attacker's address may differ in one.
    return [
        user
        for user in users.filter(wanted)
        if normalize_email(email_of(user) or "") == normalized
    ]


def _spelt_beyond_ascii(name: str, normalized: str, *, using: str) -> Q:
    """Find also what the database's own look-up misses for letters beyond ASCII."""
    if connections[using].vendor != "sqlite":
        # A PostgreSQL with the locale C folds the case of ASCII only.
        return Q(**{f"{name}__iexact": normalized.upper()})
    # SQLite always does. Its look-up by iexact uses no index either. An "\u0130" is two
    # letters in lower case, the first of them ASCII.
    longest = max(re.split(r".\u0307|[^\0-\x7f]", normalized), key=len)
    return Q(**{f"{name}__icontains": longest})


def is_address(model: Any, email: str) -> bool:
    """Say whether the model's column can hold ``email``."""
    return is_storable(email) and len(email) <= (email_field(model).max_length or 320)


def only_user(found: list[Any]) -> Any:
    """Return the one user or None; raise ``AccountNotLinkedError`` when there are several."""
    if len(found) > 1:
        raise refusal(AccountNotLinkedError, "several users have the address")
    return found[0] if found else None
