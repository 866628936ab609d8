"""The account that ``manage.py demo`` makes, for DEBUG only."""

from __future__ import annotations

from django.contrib.auth import get_user_model

from crossauth_django import accounts

EMAIL = "demo@example.com"
PASSWORD = "tall-ship-quiet-harbour"


def make() -> None:
    """Create the account, or give it its password back."""
    users = get_user_model().objects
    user = users.filter(email=EMAIL).first()
    if user is None:
        user = users.create_user(email=EMAIL, password=PASSWORD)
        accounts.mark_email_verified(user)
    elif not user.check_password(PASSWORD):
        user.set_password(PASSWORD)
        user.save(update_fields=["password"])
