"""A model's own "verified" flag: mapped by ``CROSSAUTH_USER_FIELDS``, or of the protocol's name."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.test.utils import isolate_apps
from django.utils import timezone

from crossauth_django import accounts
from crossauth_django.managers import AccountsManager
from crossauth_django.managers.users import verified_flag
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import make_user, only_where, set_email, user_create

pytestmark = pytest.mark.django_db

FLAG: Any = {
    "users.FlaggedUser": "is_confirmed",
    "users.OwnFlagUser": "email_verified",
}.get(settings.AUTH_USER_MODEL)
where_flagged = only_where(FLAG is not None)


def confirmed(email="ada@example.org", **fields):
    return make_user(email, **{FLAG: True}, **fields)


def row_of(user):
    return get_user_model().objects.filter(pk=user.pk)


def is_verified(user):
    """What the storage says, and the manager and a plain query where the model is ours."""
    answers = [AccountsStorage().find_user_by_id(user.pk).email_verified]
    if FLAG == "email_verified":
        found = get_user_model().objects.find_user_by_id(user.pk)
        answers += [found.email_verified, row_of(user).get().email_verified]
    assert len(set(answers)) == 1
    return answers[0]


def stored_flag(user):
    return row_of(user).values_list(FLAG, flat=True).get()


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

    class Dated(models.Model):  # noqa: DJ008
        email_verified = models.DateTimeField(null=True)

        class Meta:
            app_label = "crossauth_django"

    assert verified_flag(Flagged) == "email_verified"
    assert verified_flag(Plain) is None
    assert verified_flag(Dated) is None


@isolate_apps("crossauth_django")
def test_field_of_that_name_that_is_no_flag_keeps_its_value():
    class Dated(AbstractBaseUser):
        email_verified = models.DateTimeField(null=True)
        objects = AccountsManager()

        class Meta:
            app_label = "crossauth_django"

    now = timezone.now()
    assert Dated(email_verified=now).email_verified == now


@pytest.mark.parametrize("name", ["last_login", "no_such_field"])
def test_field_that_is_no_flag_is_left_alone_and_the_address_is_remembered(
    storage, settings, name
):
    settings.CROSSAUTH_USER_FIELDS = {"email_verified": name}
    now = timezone.now()
    user = make_user(last_login=now)
    assert not storage.find_user_by_id(user.pk).email_verified
    accounts.mark_email_verified(user)
    user.save()
    assert storage.find_user_by_id(user.pk).email_verified is True
    assert row_of(user).get().last_login == now
    set_email(user, "eve@example.org")
    assert storage.find_user_by_id(user.pk).email_verified is False


@where_flagged
def test_projects_own_flag_counts():
    assert is_verified(confirmed())
    assert not is_verified(make_user("bob@example.org"))


@where_flagged
def test_marking_sets_the_flag():
    user = make_user()
    accounts.mark_email_verified(user)
    assert getattr(user, FLAG)
    assert stored_flag(user)


@where_flagged
def test_sign_up_sets_the_flag():
    user = AccountsStorage().create_user(**user_create(email_verified=True))
    assert stored_flag(user.native)


@where_flagged
def test_flag_goes_with_the_address_that_it_was_set_for():
    user = confirmed()
    set_email(user, "eve@example.org")
    assert not stored_flag(user)
    assert not is_verified(user)


@where_flagged
def test_flag_goes_also_when_the_address_alone_is_saved():
    user = confirmed()
    user.email = "eve@example.org"
    user.save(update_fields=["email"])
    assert not stored_flag(user)


@where_flagged
def test_flag_stays_when_something_else_is_saved():
    user = confirmed()
    user.first_name = "Ada"
    user.save()
    user.save(update_fields=["first_name"])
    assert is_verified(user)


@where_flagged
def test_flag_taken_away_is_not_verified():
    user = make_user()
    accounts.mark_email_verified(user)
    setattr(user, FLAG, False)
    user.save()
    assert not is_verified(user)


@where_flagged
def test_projects_own_confirmation_of_another_address_counts():
    user = make_user()
    accounts.mark_email_verified(user)
    set_email(user, "eve@example.org")
    setattr(user, FLAG, True)
    user.save()
    assert is_verified(user)


@where_flagged
def test_user_saved_under_a_key_that_is_not_there_is_no_error():
    user = confirmed()
    row_of(user).delete()
    user.save()
    assert stored_flag(user)


@where_flagged
def test_flag_does_not_outlive_an_address_changed_without_signals():
    user = confirmed()
    row_of(user).update(email="eve@example.org")
    assert not is_verified(user)
    row_of(user).get().save()
    assert not stored_flag(user)


@where_flagged
def test_flag_set_without_signals_is_for_the_address_that_the_user_is_next_saved_with():
    user = make_user()
    row_of(user).update(**{FLAG: True})
    assert is_verified(user)
    # As every sign-in does.
    user.save(update_fields=["last_login"])
    row_of(user).update(email="eve@example.org")
    assert not is_verified(user)


@where_flagged
def test_flag_of_another_address_does_not_keep_a_password_from_being_claimed():
    user = confirmed(password="of somebody else")
    row_of(user).update(email="eve@example.org")
    signed_in = accounts.sign_in_identity(
        provider="google",
        provider_user_id="1",
        email="eve@example.org",
        email_verified=True,
        user_info={},
    )
    assert signed_in.user == user
    assert not row_of(user).get().check_password("of somebody else")
    assert is_verified(user)


@where_flagged
def test_flag_set_again_for_the_new_address_counts():
    user = confirmed()
    set_email(user, "eve@example.org")
    setattr(user, FLAG, True)
    user.save()
    assert getattr(user, FLAG)
    assert is_verified(user)
