"""One name for all spellings that could reach one account."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections, router

from crossauth_django.crypto import keyed_digest
from crossauth_django.eventloop import off_loop

# What counts of a name, and how much of it is looked at: more is nobody's name, and normalising
# ten megabytes would cost a second. All longer ones are one name: what stands behind the cut may
# be somebody's, where a database skips the invisible characters before it.
_LENGTH = 1_000
_LOOKED_AT = 10_000
_TOO_LONG = "a name of more than 10,000 characters"

# Shown as nothing, and skipped by some databases when they compare: control characters, and what
# Unicode calls Default_Ignorable_Code_Point (DerivedCoreProperties.txt).
_INVISIBLE = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# What a field says of text that it cannot read.
_UNREADABLE = (ValueError, TypeError, ArithmeticError, ValidationError)

# What stands on a letter without being a part of it.
_ACCENTS = re.compile("(?<=[ -~])[\u0300-\u036f]+")


def normalised(name: object) -> str:
    """Return the one form of a username, an e-mail address or whatever is typed as either.

    Case, width, compatibility forms, blanks around it and characters that show nothing make no
    difference (NFKC, ``strip().casefold()``), nor does what the user model's field makes none of;
    1,000 characters count. Names of more than 10,000 without the blanks are one.
    """
    text = str(name).strip()
    if len(text) > _LOOKED_AT:
        return _TOO_LONG
    text = _looked_up(text)
    if not text.isascii():
        is_collated = _is_collated()
        if is_collated:
            text = _in_account(text)
        # Databases compare by UPPER(), which makes one of the i with and without a dot.
        # Folding may yield what is to be composed again, or an invisible character.
        text = unicodedata.normalize("NFKC", _visible(text)).upper().casefold()
        if is_collated:
            text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
        text = unicodedata.normalize("NFKC", text)
    return _visible(text).strip().casefold()[:_LENGTH].strip()


def typed_in(credentials: Mapping[str, Any]) -> str:
    """Return the name as it was typed, ``""`` for none."""
    login = login_in(credentials)
    return "" if login is None else str(login)


def spelling_of(typed: str, name: str) -> int:
    """Return a number for how a name was typed: 0 for its one form, above 1 for any other.

    ``alice`` and ``Alice`` count as one name, and are two accounts on some sites.
    """
    text = typed[:_LENGTH]
    return (
        0 if text == name else 2 + int(keyed_digest("lockout.spelling", text)[:8], 16)
    )


def name_in(credentials: Mapping[str, Any]) -> str | None:
    """Return the normalised name that credentials are for; None when they are no password's.

    A token, or a user that a web server has authenticated, is nothing that can be guessed.
    """
    login = login_in(credentials)
    if login is not None:
        return normalised(login)
    return "" if "password" in credentials else None


def login_in(credentials: Mapping[str, Any]) -> object:
    """Return what was typed as the name, as it was typed; None when there is nothing of it.

    A blank one is the name only where no other is given: a form may have two fields.
    """
    blank = None
    for field in _login_fields():
        login = credentials.get(field)
        if login is not None and str(login).strip():
            return login
        blank = login if blank is None else blank
    return blank


def _login_fields() -> Iterator[str]:
    yield "username"
    yield get_user_model().USERNAME_FIELD
    # Names for it that backends and libraries in use have.
    yield from ("email", "login", "phone")


def _looked_up(text: str) -> str:
    """Return what the database is asked for: to a field of numbers ``042`` is ``42``."""
    model: Any = get_user_model()
    try:
        found = model._meta.get_field(model.USERNAME_FIELD).get_prep_value(text)
    except _UNREADABLE:
        return text
    # A field may keep nothing as NULL.
    return text if found is None else str(found)


def _is_collated() -> bool:
    """Say whether the users' names are compared as MySQL and MariaDB compare texts.

    By default accents make no difference to them, nor whose digits they are, nor many a character
    that their collation ignores: without end, other texts would be the same name.
    """
    return connections[router.db_for_read(get_user_model())].vendor == "mysql"


@off_loop
def _in_account(text: str) -> str:
    """Return a name as the account has it that the database finds by it, else as it is."""
    model = get_user_model()
    field = model.USERNAME_FIELD
    users = model._default_manager.filter(**{field: text})
    try:
        return next((str(name) for name in users.values_list(field, flat=True)), text)
    except (DatabaseError, *_UNREADABLE):
        # Text that the column cannot be compared with.
        return text


def _visible(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _INVISIBLE.sub("", text)
