"""A model's own "verified" flag, mapped by ``CROSSAUTH_USER_FIELDS``."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.test.utils import isolate_apps

from crossauth_django import accounts
from crossauth_django.managers.users import verified_flag
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import make_user, only_where, set_email, user_create

pytestmark = pytest.mark.django_db

where_mapped = only_where(settings.AUTH_USER_MODEL == "users.FlaggedUser")


def is_verified(user):
    return AccountsStorage().find_user_by_id(user.pk).email_verified


def stored_flag(user):
    return get_user_model().objects.get(pk=user.pk).is_confirmed


@isolate_apps("crossauth_django")
def test_field_of_that_very_name_needs_no_setting(settings):
    settings.CROSSAUTH_USER_FIELDS = {}

    class Plain(models.Model):  # noqa: DJ008
        class Meta:
            app_label = "crossauth_django"

    class Flagged(models.Model):  # noqa: DJ008
        email_verified = models.BooleanField()

        class Meta:
            app_label = "crossauth_django"

    assert verified_flag(Flagged) == "email_verified"
    assert verified_flag(Plain) is None


@where_mapped
def test_projects_own_flag_counts():
    assert is_verified(make_user(is_confirmed=True))
    assert not is_verified(make_user("bob@example.org", is_confirmed=False))


@where_mapped
def test_marking_sets_the_flag():
    user = make_user()
    accounts.mark_email_verified(user)
    assert user.is_confirmed
    assert stored_flag(user)


@where_mapped
def test_sign_up_sets_the_flag():
    user = AccountsStorage().create_user(**user_create(email_verified=True))
    assert stored_flag(user.native)


@where_mapped
def test_flag_goes_with_the_address_that_it_was_set_for():
    user = make_user(is_confirmed=True)
    set_email(user, "eve@example.org")
    assert not stored_flag(user)
    assert not is_verified(user)


@where_mapped
def test_flag_goes_also_when_the_address_alone_is_saved():
    user = make_user(is_confirmed=True)
    user.email = "eve@example.org"
    user.save(update_fields=["email"])
    assert not stored_flag(user)


@where_mapped
def test_flag_stays_when_something_else_is_saved():
    user = make_user(is_confirmed=True)
    user.first_name = "Ada"
    user.save()
    user.save(update_fields=["first_name"])
    assert is_verified(user)


@where_mapped
def test_flag_taken_away_is_not_verified():
    user = make_user()
    accounts.mark_email_verified(user)
    user.is_confirmed = False
    user.save()
    assert not is_verified(user)


@where_mapped
def test_projects_own_confirmation_of_another_address_counts():
    user = make_user()
    accounts.mark_email_verified(user)
    set_email(user, "eve@example.org")
    user.is_confirmed = True
    user.save()
    assert is_verified(user)


@where_mapped
def test_user_saved_under_a_key_that_is_not_there_is_no_error():
    user = make_user(is_confirmed=True)
    get_user_model().objects.filter(pk=user.pk).delete()
    user.save()
    assert stored_flag(user)
