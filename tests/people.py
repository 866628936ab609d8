"""Users of whichever model ``CROSSAUTH_TEST_USER`` chose."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model


def make_user(name: str, *, using: str = "default", **fields: Any) -> Any:
    """Save a user with a password and the address ``<name>@example.org``."""
    model = get_user_model()
    user: Any = model(**fields)
    setattr(user, model.USERNAME_FIELD, name)
    setattr(user, model.get_email_field_name(), f"{name}@example.org")
    user.set_password("correct horse")
    user.save(using=using)
    return user
