"""The admin, for whichever user model is selected; nobody reads a secret there."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import reverse

from crossauth_django import accounts
from crossauth_django.models import SocialAccount
from tests.accounts.conftest import identity, make_user, only_where

pytestmark = pytest.mark.django_db

# The admin needs permissions, which a bare AbstractBaseUser has not.
where_admin = only_where(hasattr(get_user_model(), "user_permissions"))
where_ours = only_where(settings.AUTH_USER_MODEL == "crossauth_django.User")


@pytest.fixture
def staff(client):
    user = make_user("root@example.org", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


@pytest.fixture
def account(keep_tokens):
    return SocialAccount.objects.create(
        user_id=make_user().pk,
        **identity(access_token="s3cret-a", refresh_token="s3cret-r"),
    )


def url(page, *args):
    return reverse(f"admin:crossauth_django_{page}", args=args)


@where_admin
def test_connections_are_found_by_identity_and_by_address(staff, account):
    name = get_user_model().objects.get(pk=account.user_id).get_username()
    for query in ("ada@example.org", "1", name):
        page = staff.get(url("socialaccount_changelist"), {"q": query})
        assert "acme" in page.text
    page = staff.get(url("socialaccount_changelist"), {"q": "nobody"})
    assert "0 social accounts" in page.text


@where_admin
def test_no_token_is_shown_open_or_sealed(staff, account):
    page = staff.get(url("socialaccount_change", account.pk))
    assert page.status_code == 200
    stored = SocialAccount.objects.values_list("access_token", "refresh_token").get()
    assert all(value.stored not in page.text for value in stored)
    assert "s3cret" not in page.text
    assert "tokens are stored" in page.text.lower()


@where_admin
def test_connection_can_be_seen_when_every_key_is_lost(staff, account, settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = []
    assert staff.get(url("socialaccount_change", account.pk)).status_code == 200
    assert staff.get(url("socialaccount_changelist")).status_code == 200


@where_admin
def test_nothing_is_typed_in(staff, account):
    staff.post(url("socialaccount_change", account.pk), {"provider": "evil"})
    assert SocialAccount.objects.get().provider == "acme"
    assert staff.get(url("socialaccount_add")).status_code == 403


@where_ours
def test_user_is_made_with_an_address(staff):
    values = {
        "email": "Bob@Example.org",
        "usable_password": "true",
        "password1": "correct horse 1",
        "password2": "correct horse 1",
    }
    answer = staff.post(url("user_add"), values)
    assert answer.status_code == 302
    user = get_user_model().objects.get(email="bob@example.org")
    assert user.check_password("correct horse 1")


@where_ours
def test_user_can_be_seen_and_found(staff):
    user = make_user()
    accounts.mark_email_verified(user)
    page = staff.get(url("user_change", user.pk))
    assert "ada@example.org" in page.text
    assert "address is verified" in page.text.lower()
    assert "ada@" in staff.get(url("user_changelist"), {"q": "ada"}).text


@where_ours
def test_address_changed_in_the_admin_is_not_verified(staff):
    user = make_user()
    accounts.mark_email_verified(user)
    page = staff.get(url("user_change", user.pk))
    values = {
        "email": "eve@example.org",
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    answer = staff.post(page.wsgi_request.path, values)
    assert answer.status_code == 302, answer.context["errors"]
    user.refresh_from_db()
    assert (user.email, user.email_verified) == ("eve@example.org", False)
