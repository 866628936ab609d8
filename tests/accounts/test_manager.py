"""``AccountsManager`` where Django expects a user manager."""

from __future__ import annotations

import io
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.management import call_command
from django.db import models
from django.test.utils import isolate_apps

from crossauth_django.exceptions import AccountNotLinkedError
from crossauth_django.managers import AccountsManager
from crossauth_django.managers.attributes import Attribute
from tests.accounts.conftest import has_username, make_user, only_where

pytestmark = pytest.mark.django_db

IS_OURS = isinstance(get_user_model()._default_manager, AccountsManager)
where_ours = only_where(IS_OURS)
where_address_signs_in = only_where(IS_OURS and not has_username())
where_username = only_where(IS_OURS and has_username())


def manager() -> Any:
    return get_user_model().objects


@where_address_signs_in
def test_user_is_made_as_django_makes_one():
    user = manager().create_user("Ada@Example.org", "secret")
    assert user.email == "ada@example.org"
    assert authenticate(username="ADA@example.org", password="secret") == user


@where_username
def test_user_with_a_username_is_made_as_django_makes_one():
    user = manager().create_user("ada", "Ada@Example.org", "secret")
    assert (user.username, user.email) == ("ada", "ada@example.org")
    assert authenticate(username="ada", password="secret") == user


@where_ours
def test_user_is_made_by_keywords():
    user = manager().create_user(
        email="ada@example.org", password="secret", first_name="Ada"
    )
    assert user.first_name == "Ada"
    assert user.check_password("secret")


@where_ours
def test_user_without_a_password_has_none():
    assert not manager().create_user(email="ada@example.org").has_usable_password()


@where_ours
def test_second_user_with_an_address_is_refused():
    make_user("ada@example.org")
    with pytest.raises(AccountNotLinkedError):
        manager().create_user(email="ADA@example.org")


@where_ours
def test_too_many_positions_are_a_type_error():
    with pytest.raises(TypeError):
        manager().create_user("a", "b@example.org", "c", "d")


@where_ours
def test_superuser_may_do_everything():
    user = manager().create_superuser(email="ada@example.org", password="secret")
    assert user.is_staff
    assert user.is_superuser
    for name in ("is_staff", "is_superuser"):
        with pytest.raises(ValueError, match=name):
            manager().create_superuser(email="b@example.org", **{name: False})


@where_ours
def test_command_makes_a_superuser(monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "secret")
    options = {"username": "ada"} if has_username() else {}
    call_command(
        "createsuperuser",
        interactive=False,
        email="ada@example.org",
        stdout=io.StringIO(),
        **options,
    )
    user = manager().get()
    assert user.is_superuser
    assert user.check_password("secret")


@where_address_signs_in
def test_natural_key_is_the_address_in_any_case():
    user = make_user("ada@example.org")
    assert manager().get_by_natural_key("ADA@example.org") == user
    for unknown in ("bob@example.org", "", None):
        with pytest.raises(get_user_model().DoesNotExist):
            manager().get_by_natural_key(unknown)


@where_username
def test_natural_key_is_the_username():
    user = make_user()
    assert manager().get_by_natural_key(user.username) == user


@only_where(IS_OURS and not has_username())
def test_async_twins():
    async def main():
        await manager().acreate_user("ada@example.org", "secret")
        await manager().acreate_superuser("root@example.org", "secret")
        return await manager().aget_by_natural_key("Root@example.org")

    assert async_to_sync(main)().is_superuser
    assert manager().count() == 2


@where_ours
def test_manager_of_a_related_object_is_a_storage_too():
    from django.contrib.auth.models import Group

    user = make_user()
    group = Group.objects.create(name="staff")
    assert group.user_set.find_user_by_email("ada@example.org") is None
    group.user_set.add(user)
    assert group.user_set.find_user_by_email("ADA@example.org") == user


@isolate_apps("crossauth_django")
def test_model_below_an_abstract_one_has_the_protocol_too():
    class Base(AbstractBaseUser):
        email = models.EmailField(unique=True)
        objects = AccountsManager()
        USERNAME_FIELD = "email"

        class Meta:
            app_label = "crossauth_django"
            abstract = True

    class Person(Base):
        class Meta:
            app_label = "crossauth_django"

    person = Person(email="ada@example.org")
    assert person.hashed_password is None
    assert not person.has_usable_password
    assert Person.hashed_password is not None
    assert isinstance(Person.email_verified, Attribute)


@isolate_apps("crossauth_django")
def test_model_with_names_of_its_own_has_the_protocol_too():
    class Person(AbstractBaseUser):
        number = models.IntegerField(primary_key=True)
        contact = models.EmailField(unique=True)
        objects = AccountsManager()
        USERNAME_FIELD = EMAIL_FIELD = "contact"

        class Meta:
            app_label = "crossauth_django"

    person: Any = Person(number=7, contact="ada@example.org")
    assert (person.id, person.email) == (7, "ada@example.org")
    assert Person(number=8).email is None
    person.email = "else@example.org"
    assert person.contact == "ada@example.org"


@where_ours
def test_protocol_can_be_read_from_an_instance():
    user = make_user(password="secret")
    assert user.email_verified is False
    assert user.hashed_password is None
    assert bool(user.has_usable_password) is True
    assert user.has_usable_password == True  # noqa: E712  (not a bool, but equal to one)
    assert repr(user.has_usable_password) == "True"
    assert hash(user.has_usable_password) == hash(True)
    assert get_user_model().has_usable_password(user) is True
    user.set_unusable_password()
    assert not user.has_usable_password


@where_address_signs_in
def test_verified_can_be_given_and_taken():
    user = get_user_model()(email="Ada@example.org", email_verified=True)
    user.save()
    user.refresh_from_db()
    assert user.email_verified is True
    user.email_verified = False
    user.save()
    user.refresh_from_db()
    assert user.email_verified is False
