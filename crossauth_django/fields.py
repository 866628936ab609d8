"""Model fields that hold the same promise on every database."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query_utils import DeferredAttribute
from django.utils import timezone as django_timezone

from crossauth_django import crypto

if TYPE_CHECKING:
    _CharField = models.CharField[Any, Any]
    _DateTimeField = models.DateTimeField[Any, Any]
    _EmailField = models.EmailField[Any, Any]
    _TextField = models.TextField[Any, Any]
else:
    _CharField = models.CharField
    _DateTimeField = models.DateTimeField
    _EmailField = models.EmailField
    _TextField = models.TextField


def utc_now() -> datetime:
    """Return the time, aware also where ``USE_TZ`` is off."""
    return datetime.now(tz=timezone.utc)


def normalize_email(email: str) -> str:
    """Return the one spelling under which an address is stored and compared.

    Surrounding white space goes and letters become lower case, as in cross-auth. Nothing
    is folded into ASCII (the Kelvin sign would become a ``k``), and no two mailboxes become one.
    """
    text = email.strip()
    if text.isascii():
        return text.lower()
    lowered = (
        letter if not letter.isascii() and letter.lower().isascii() else letter.lower()
        for letter in text
    )
    return "".join(lowered)


class _ExactMixin:
    """Compares code point by code point, also on MySQL and MariaDB.

    Their default collations find ``A`` equal to ``a`` and to ``ä``, and ignore trailing spaces:
    one provider's identities would be another's.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            is_mariadb = connection.mysql_is_mariadb  # type: ignore[attr-defined]
            parameters["collation"] = (
                "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
            )
        return parameters


class ExactCharField(_ExactMixin, _CharField):
    """A ``CharField`` that is case-sensitive on every database."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        # Spelled out: after "varchar" Django's schema editor makes a second index on PostgreSQL,
        # for LIKE, which nobody asks of a digest and each write would pay for.
        found: str | None = super().db_type(connection)
        if found is None or connection.vendor != "postgresql":
            return found
        return found.replace("varchar", "character varying", 1)


class EmailAddressField(_ExactMixin, _EmailField):
    """An ``EmailField`` that stores and looks up normalised addresses.

    ``unique=True`` is case-insensitive with it, and a look-up uses the index.
    """

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return normalize_email(value) if isinstance(value, str) else value

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001
        value = super().pre_save(model_instance, add)
        if isinstance(value, str):
            value = normalize_email(value)
            setattr(model_instance, self.attname, value)
        return value


class AwareDateTimeField(_DateTimeField):
    """A ``DateTimeField`` whose values are aware, whatever ``USE_TZ`` says.

    A naive value from outside is taken for UTC, and so is what is stored where ``USE_TZ`` is off:
    local time, which Django stores then, comes twice when summer ends. PostgreSQL knows the
    moment itself, and is asked for it in UTC.
    """

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        return super().get_prep_value(value)

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001, FBT002  (Django's)
    ) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        if _is_naive_on(connection) and isinstance(value, datetime):
            value = django_timezone.make_naive(value, timezone.utc)
        return super().get_db_prep_value(value, connection, prepared=True)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        if not settings.USE_TZ and not _is_naive_on(compiler.connection):
            sql = f"({sql} AT TIME ZONE 'UTC')"
        return sql, params

    def get_db_converters(self, connection: BaseDatabaseWrapper) -> list[Any]:
        # None where the driver's values are aware: a list of sessions has thousands.
        return [] if settings.USE_TZ else [_to_aware]


def _is_naive_on(connection: BaseDatabaseWrapper) -> bool:
    return not settings.USE_TZ and connection.vendor != "postgresql"


def _to_aware(value: Any, *args: Any) -> Any:
    return value.replace(tzinfo=timezone.utc) if isinstance(value, datetime) else value


class Sealed:
    """An encrypted value as it is stored; it has no readable representation."""

    __slots__ = ("stored",)

    def __init__(self, stored: str) -> None:
        self.stored = stored

    def open(self) -> str:
        """Decrypt; raise ``EncryptionError`` when no configured key opens it."""
        return crypto.decrypt(self.stored)


class _SealedAttribute(DeferredAttribute):
    """Decrypts when it is read, so that a lost key breaks no query that needs no token."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        value = super().__get__(instance, owner)
        return value.open() if isinstance(value, Sealed) else value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(_TextField):
    """Text of any length, encrypted at rest and read in clear through the attribute.

    Left out of forms, the admin and ``dumpdata``.
    """

    descriptor_class = _SealedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(editable=False, serialize=False)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: Any, *args: Any) -> Any:
        return value if value is None else Sealed(value)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001
        # What was not touched is stored again as it was, without being opened.
        return model_instance.__dict__.get(self.attname)

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):
            return value.stored
        value = super().get_prep_value(value)
        return crypto.encrypt(value) if isinstance(value, str) else value
