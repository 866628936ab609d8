"""Makes users of any model, inside the caller's transaction."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, models, transaction
from django.utils.module_loading import import_string

from crossauth_django.conf import conf
from crossauth_django.exceptions import AccountNotLinkedError, EmailMissingError
from crossauth_django.fields import normalize_email
from crossauth_django.managers.lookup import is_address, users_with_address
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.transactions import lock_address
from crossauth_django.managers.users import (
    email_field,
    email_of,
    record_verified_email,
    username_field,
)

# The second name is random, and so is the third; what refuses them all is not about the name.
_ATTEMPTS = 3


def create(
    users: models.QuerySet[Any],
    *,
    email: str | None,
    email_verified: bool,
    make: Callable[[], AbstractBaseUser],
) -> AbstractBaseUser:
    """Call ``make`` when the normalised address is free, and return the saved user.

    Raise ``AccountNotLinkedError`` when somebody has the address, also when they got it at the
    same moment. Other integrity errors propagate. ``email_verified`` is about ``email``: when
    ``make`` gives the user another address, nobody has proved that one.
    """
    using = users.db
    if email:
        lock_address(email, using=using)
        if users_with_address(users, email):
            raise refusal(AccountNotLinkedError, "the address belongs to a user")
    try:
        with transaction.atomic(using=using):
            user = make()
    except IntegrityError as error:
        if email and users_with_address(users, email):
            raise refusal(
                AccountNotLinkedError, "the address was taken at this moment"
            ) from error
        raise
    if email_verified and normalize_email(email_of(user) or "") == email:
        record_verified_email(user, using=using)
    return user


def clean_address(model: type[AbstractBaseUser], email: str | None) -> str | None:
    """Return the normalised address; raise ``EmailMissingError`` where one is needed."""
    cleaned = normalize_email(email or "")
    if is_address(model, cleaned):
        return cleaned
    field = email_field(model)
    if cleaned or not (field.blank or field.null):
        raise refusal(EmailMissingError, "there is no usable address")
    return None


def make_by_factory(
    *, email: str | None, user_info: dict[str, Any], extra_fields: Mapping[str, Any]
) -> AbstractBaseUser:
    """Let ``CROSSAUTH_CREATE_USER`` make and save the user."""
    factory = import_string(conf.CROSSAUTH_CREATE_USER or "")
    user: AbstractBaseUser = factory(
        email=email, user_info=user_info, extra_fields=dict(extra_fields)
    )
    return user


def make_plainly(
    model: type[AbstractBaseUser],
    *,
    using: str,
    email: str | None,
    password: str | None,
    fields: Mapping[str, Any],
) -> AbstractBaseUser:
    """Save a new user; a username that the model demands comes from the address."""
    address_field = email_field(model)
    _refuse_unknown(model, fields, address_field)
    user = model(**fields)
    blank = None if address_field.null else ""
    setattr(user, address_field.attname, email or blank)
    user.set_password(password)
    name_field: Any = model._meta.get_field(username_field(model))
    if name_field == address_field or getattr(user, name_field.attname):
        user.save(using=using, force_insert=True)
    else:
        _save_under_a_free_name(user, name_field, email, using=using)
    return user


def _save_under_a_free_name(
    user: AbstractBaseUser, field: Any, email: str | None, *, using: str
) -> None:
    # Nobody looks whether a name is taken: a constraint may compare otherwise, by Lower() or a
    # collation, and above READ COMMITTED a look does not see who took it just now.
    names = _usernames(email, field.max_length)
    attempts_left = _ATTEMPTS
    while True:
        setattr(user, field.attname, user.normalize_username(next(names)))
        attempts_left -= 1
        try:
            with transaction.atomic(using=using):
                user.save(using=using, force_insert=True)
        except IntegrityError:
            if not attempts_left:
                raise
        else:
            return


def _usernames(email: str | None, max_length: int | None) -> Iterator[str]:
    # An "@" would let a username look like another user's address.
    local = re.sub(r"[^\w.+-]", "", (email or "").partition("@")[0]) or "user"
    # None: a TextField's.
    length = max_length or len(local) + 9
    if email:
        yield local[:length]
    while True:
        yield f"{local[: length - 9]}-{secrets.token_hex(4)}"


def _refuse_unknown(
    model: type[AbstractBaseUser], fields: Mapping[str, Any], address_field: Any
) -> None:
    own = {field.name for field in model._meta.concrete_fields}
    own |= {field.attname for field in model._meta.concrete_fields}
    own -= {address_field.name, model._meta.pk.name, "pk", "password"}
    if unknown := sorted(set(fields) - own):
        raise TypeError(f"{model.__name__} cannot be created with the fields {unknown}")
