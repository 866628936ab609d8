"""What the protocols ask about a user, answered for any user model."""

from __future__ import annotations

import functools
import re
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, models, transaction
from django.db.models.query_utils import DeferredAttribute

from crossauth_django.conf import conf
from crossauth_django.eventloop import off_loop
from crossauth_django.fields import normalize_email, utc_now
from crossauth_django.managers.tables import rows

# The related name of ``VerifiedEmail``.
_RECORD = "crossauth_verified_email"
_BCRYPT = re.compile(r"bcrypt\$(\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53})")


def itself(user: Any) -> Any:
    """Return the user whom ``request.user`` stands for; any other user as it is.

    A ``SimpleLazyObject`` has a class and a ``__dict__`` of its own.
    """
    # A method is bound to whom it is about.
    return user.get_username.__self__


def email_field(model: Any) -> Any:
    """Return the model's field for the address, whatever its name."""
    return model._meta.get_field(model.get_email_field_name())


def email_of(user: AbstractBaseUser) -> str | None:
    """Return the user's address as it is stored; None when blank."""
    return getattr(user, user.get_email_field_name()) or None


def username_field(model: Any) -> str:
    """Return the name of the field that a user signs in with."""
    name: str = model.USERNAME_FIELD
    return name


def hashed_password(user: AbstractBaseUser) -> str | None:
    """Return a bare bcrypt hash, or None for every other password.

    cross-auth hands it to passlib, which raises on Django's format. None also where
    ``CROSSAUTH_PASSWORD_LOGIN`` is off.
    """
    match = _BCRYPT.fullmatch(user.password or "")
    return match[1] if match and conf.CROSSAUTH_PASSWORD_LOGIN else None


def is_password_way_in(user: AbstractBaseUser) -> bool:
    """Say whether a password signs the user in.

    A blank one does not, although Django calls it usable.
    """
    if not conf.CROSSAUTH_PASSWORD_LOGIN or not user.password:
        return False
    return bool(user.has_usable_password())


@off_loop
def is_email_verified(user: AbstractBaseUser) -> bool:
    """Say whether the user's current address is the one that was verified."""
    email = email_of(user)
    if email is None:
        return False
    if column := _verified_email_column(user):
        return _is_same(getattr(user, column), email)
    flag = verified_flag(type(user))
    if flag is not None and not _is_set(user, flag):
        return False
    record = getattr(user, _RECORD, None)
    # The project sets its own flag; the record, once it was seen set, says for which address.
    is_flag_enough = flag is not None and record is None
    return is_flag_enough or (record is not None and _is_same(record.email, email))


def record_verified_email(user: AbstractBaseUser, *, using: str) -> None:
    """Remember that the address that ``user`` has in memory was verified; there must be one."""
    email = email_of(user) or ""
    users = type(user)._default_manager.using(using).filter(pk=user.pk)
    if column := _verified_email_column(user):
        users.update(**{column: email})
        setattr(user, column, normalize_email(email))
        return
    if flag := verified_flag(type(user)):
        users.update(**{flag: True})
        setattr(user, flag, True)
    _write_record(user, email, using=using)


def verified_flag(model: type[models.Model]) -> str | None:
    """Return the name of the model's own boolean field, mapped or called ``email_verified``.

    None where the field is no ``BooleanField``: nobody knows what it says.
    """
    name = conf.CROSSAUTH_USER_FIELDS.get("email_verified", "email_verified")
    return name if is_flag(model, name) else None


@functools.cache
def is_flag(model: type[models.Model], name: str) -> bool:
    """Say whether ``name`` is a ``BooleanField`` of the model, which can be set and asked for."""
    try:
        return isinstance(model._meta.get_field(name), models.BooleanField)
    except FieldDoesNotExist:
        return False


def has_record(model: type[models.Model]) -> bool:
    """Say whether ``VerifiedEmail`` knows which address of such a user was verified."""
    return not hasattr(model, "VERIFIED_EMAIL_FIELD")


def _write_record(user: AbstractBaseUser, email: str, *, using: str) -> None:
    records = rows("VerifiedEmail", using=using).filter(user_id=user.pk)
    values = {"email": email, "verified_at": utc_now()}
    # UPDATE, then INSERT: reading first would be a deadlock on SQLite.
    if not records.update(**values):
        try:
            with transaction.atomic(using=using):
                records.create(user_id=user.pk, **values)
        except IntegrityError:
            records.update(**values)
    # Forget what was loaded before.
    user._state.fields_cache.pop(_RECORD, None)


def _verified_email_column(user: AbstractBaseUser) -> str | None:
    return getattr(user, "VERIFIED_EMAIL_FIELD", None)


def _is_same(one: Any, other: str) -> bool:
    return bool(one) and normalize_email(one) == normalize_email(other)


def _is_set(user: AbstractBaseUser, flag: str) -> bool:
    """Read the column itself, whatever the attribute answers."""
    field: Any = user._meta.get_field(flag)
    return bool(DeferredAttribute(field).__get__(user))


def check_flag(user: AbstractBaseUser, *, using: str) -> None:
    """Before ``user`` is saved, see that the model's own flag does not outlive the address.

    A flag that was already set before the address changed says nothing about the new one, and
    goes. A flag that is set now is the project's word for the address that is saved with it.
    """
    flag = verified_flag(type(user))
    if flag is None or user._state.adding or not _is_set(user, flag):
        return
    users = type(user)._base_manager.using(using).filter(pk=user.pk)
    name = email_field(type(user)).name
    stored = users.values_list(flag, name, f"{_RECORD}__email").first()
    if stored is None:
        return
    was_set, email, verified = stored
    current = email_of(user) or ""
    if not was_set:
        _write_record(user, current, using=using)
    elif not _is_same(verified or email, current):
        setattr(user, flag, False)
        # ``save(update_fields=...)`` would leave it set.
        users.update(**{flag: False})


def note_flag(user: AbstractBaseUser, *, using: str) -> None:
    """After ``user`` is saved, remember which address has the model's own flag.

    What changes the address without signals then takes the verification with it.
    """
    flag = verified_flag(type(user))
    if flag is None:
        return
    unseen = {"pk": user.pk, _RECORD: None, flag: True}
    users = type(user)._base_manager.using(using).filter(**unseen)
    email = users.values_list(email_field(type(user)).name, flat=True).first()
    if email:
        records = rows("VerifiedEmail", using=using)
        record = records.model(user_id=user.pk, email=email)
        records.bulk_create([record], ignore_conflicts=True)
        user._state.fields_cache.pop(_RECORD, None)
