"""What a user model must have to satisfy the ``User`` protocol, given to it where it lacks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models.query_utils import DeferredAttribute

from crossauth_django.managers import users

T = TypeVar("T")


class Attribute(Generic[T]):
    """A computed attribute that may be assigned on an instance, as the protocols allow."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function

    def __get__(self, instance: object, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        return self._function(instance)


class VerifiedFlag(DeferredAttribute):
    """Reads a model's own ``email_verified`` column as the storages do.

    True only while the address is the one that the flag was set for. ``save()`` stores what is
    read, so a flag that has outlived its address goes.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else users.is_email_verified(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class UsablePassword:
    """Answers both who reads ``has_usable_password`` and who calls it.

    Read, it is false for a user whom no password signs in: a bound method is always true, and would
    let the last way in be removed. Called, it is Django's own answer.
    """

    def __init__(
        self, user: AbstractBaseUser, django_answer: Callable[..., bool]
    ) -> None:
        self._user = user
        self._django_answer = django_answer

    def __call__(self) -> bool:
        return bool(self._django_answer(self._user))

    def __bool__(self) -> bool:
        return users.is_password_way_in(self._user)

    def __eq__(self, other: object) -> bool:
        return bool(self) == other

    def __hash__(self) -> int:
        return hash(bool(self))

    def __repr__(self) -> str:
        return repr(bool(self))


class HasUsablePassword:
    """Puts a ``UsablePassword`` in the place of a model's method."""

    def __init__(self, method: Callable[..., bool]) -> None:
        self._method = method

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return (
            self._method if instance is None else UsablePassword(instance, self._method)
        )


def complete(model: Any) -> None:
    """Give ``model`` the attributes of the ``User`` protocol that it has not."""
    if not hasattr(model, "id"):
        model.id = Attribute(lambda user: user.pk)
    if not hasattr(model, "email"):
        model.email = Attribute(users.email_of)
    if not hasattr(model, "hashed_password"):
        model.hashed_password = Attribute(users.hashed_password)
    if not hasattr(model, "email_verified"):
        model.email_verified = Attribute(users.is_email_verified)
    elif type(model.email_verified) is DeferredAttribute and users.is_flag(
        model, "email_verified"
    ):
        model.email_verified = VerifiedFlag(model.email_verified.field)
    if not isinstance(
        inspect.getattr_static(model, "has_usable_password"), HasUsablePassword
    ):
        model.has_usable_password = HasUsablePassword(model.has_usable_password)
