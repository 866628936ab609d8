"""The suite runs over whichever user model and database the settings select."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.test import TestCase

from crossauth_django.managers import AccountsManager
from crossauth_django.storage import AccountsStorage

_numbers = itertools.count()


def _ways() -> list[Any]:
    """The storages of the selected user model: its manager is one where it is ours."""
    ways: list[Any] = [pytest.param(AccountsStorage, id="storage")]
    if isinstance(get_user_model()._default_manager, AccountsManager):
        ways.append(pytest.param(lambda: get_user_model().objects, id="manager"))
    return ways


@pytest.fixture(params=_ways())
def storage(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def keep_tokens(settings: Any) -> None:
    settings.CROSSAUTH_STORE_PROVIDER_TOKENS = True
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]


@pytest.fixture
def new_user() -> Callable[..., Any]:
    return make_user


def make_user(
    email: str = "ada@example.org", password: str | None = None, **fields: Any
) -> Any:
    """Save a user as the project's own code does."""
    model: Any = get_user_model()
    user = model(**{model.get_email_field_name(): email}, **fields)
    if model.get_email_field_name() != model.USERNAME_FIELD:
        user.username = fields.get("username", f"user{next(_numbers)}")
    user.set_password(password)
    user.save()
    return user


def set_email(user: Any, email: str) -> None:
    """Change the address as the admin does."""
    setattr(user, user.get_email_field_name(), email)
    user.save()


def identity(**changes: Any) -> dict[str, Any]:
    """The twelve fields of a connection, without its user."""
    return {
        "provider": "acme",
        "provider_user_id": "1",
        "access_token": None,
        "refresh_token": None,
        "access_token_expires_at": None,
        "refresh_token_expires_at": None,
        "scope": None,
        "user_info": {},
        "provider_email": "ada@example.org",
        "provider_email_verified": None,
        "is_login_method": True,
        **changes,
    }


def credentials(**changes: Any) -> dict[str, Any]:
    """The fields of an update."""
    values = identity(**changes)
    for name in ("provider", "provider_user_id", "is_login_method"):
        values.pop(name)
    return values


def user_create(email: str = "ada@example.org", **changes: Any) -> Any:
    return {
        "user_info": {},
        "email": email,
        "email_verified": False,
        "extra_fields": None,
        **changes,
    }


def identity_of(**changes: Any) -> Callable[[Any], Any]:
    """A callback for ``create_user_with_identity``."""
    return lambda user: {
        **identity(**changes),
        "user_id": user.id,
        "extra_fields": None,
    }


def only_where(condition: bool) -> Callable[[Any], Any]:
    """Leave a test out for the user models that it says nothing about."""
    return lambda test: test if condition else None


def has_username() -> bool:
    model: Any = get_user_model()
    return bool(model.USERNAME_FIELD == "username")


def has_unique_address() -> bool:
    model: Any = get_user_model()
    return bool(model._meta.get_field(model.get_email_field_name()).unique)


@contextmanager
def sent(signal: Any) -> Iterator[list[dict[str, Any]]]:
    """Collect what the signal says."""
    calls: list[dict[str, Any]] = []

    def receive(**arguments: Any) -> None:
        calls.append(arguments)

    signal.connect(receive)
    try:
        with TestCase.captureOnCommitCallbacks(execute=True):
            yield calls
    finally:
        signal.disconnect(receive)
