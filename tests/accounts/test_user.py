"""The ``User`` object of the protocols, in every way in."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.utils.functional import SimpleLazyObject

from crossauth_django import accounts, signals
from crossauth_django.fields import normalize_email
from crossauth_django.models import SocialAccount
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import identity, make_user, sent, set_email, user_create

pytestmark = pytest.mark.django_db


def native(user: Any) -> Any:
    return getattr(user, "native", user)


def test_says_who_it_is(storage):
    user = make_user("ada@example.org")
    found = storage.find_user_by_id(user.pk)
    assert (found.id, found.email) == (user.pk, "ada@example.org")
    assert native(found) == user


def test_blank_address_is_none():
    user = make_user("")
    assert AccountsStorage().find_user_by_id(user.pk).email is None


@pytest.mark.parametrize("version", ["2a", "2b", "2y"])
def test_bcrypt_hash_is_handed_out_bare(storage, version):
    bare = f"${version}$04${'a' * 53}"
    user = make_user()
    get_user_model().objects.filter(pk=user.pk).update(password=f"bcrypt${bare}")
    assert storage.find_user_by_id(user.pk).hashed_password == bare


@pytest.mark.parametrize(
    "password",
    [
        make_password("secret", hasher="md5"),
        make_password("secret", hasher="bcrypt_sha256"),
        make_password(None),
        "",
        "bcrypt$",
        "bcrypt$$2b$04$short",
        "$2b$04$" + "a" * 53,
    ],
    # Named: a salt is another in each of the test processes, which must agree on the names.
    ids=["md5", "bcrypt_sha256", "unusable", "blank", "no hash", "short", "bare"],
)
def test_other_passwords_are_not_handed_out(storage, password):
    user = make_user()
    get_user_model().objects.filter(pk=user.pk).update(password=password)
    assert storage.find_user_by_id(user.pk).hashed_password is None


def test_real_bcrypt_hash_verifies_with_bcrypt(storage):
    import bcrypt

    user = make_user()
    hashed = make_password("secret", hasher="bcrypt")
    get_user_model().objects.filter(pk=user.pk).update(password=hashed)
    found = storage.find_user_by_id(user.pk)
    assert bcrypt.checkpw(b"secret", found.hashed_password.encode())


def test_no_hash_is_handed_out_where_passwords_are_off(storage, settings):
    settings.CROSSAUTH_PASSWORD_LOGIN = False
    user = make_user()
    hashed = make_password("secret", hasher="bcrypt")
    get_user_model().objects.filter(pk=user.pk).update(password=hashed)
    assert storage.find_user_by_id(user.pk).hashed_password is None


@pytest.mark.parametrize("hasher", ["md5", "bcrypt", "bcrypt_sha256", "pbkdf2_sha256"])
def test_password_of_any_algorithm_is_usable(storage, hasher):
    user = make_user()
    hashed = make_password("secret", hasher=hasher)
    get_user_model().objects.filter(pk=user.pk).update(password=hashed)
    assert storage.find_user_by_id(user.pk).has_usable_password


@pytest.mark.parametrize(
    "password", [pytest.param(make_password(None), id="unusable"), ""]
)
def test_unusable_and_blank_passwords_are_not_usable(storage, password):
    user = make_user()
    get_user_model().objects.filter(pk=user.pk).update(password=password)
    assert not storage.find_user_by_id(user.pk).has_usable_password


def test_no_password_is_usable_where_passwords_are_off(storage, settings):
    settings.CROSSAUTH_PASSWORD_LOGIN = False
    user = make_user(password="secret")
    assert not storage.find_user_by_id(user.pk).has_usable_password


def test_django_may_still_call_has_usable_password():
    assert make_user(password="secret").has_usable_password() is True
    assert make_user("bob@example.org").has_usable_password() is False


def test_connections_can_be_iterated_and_queried(storage):
    user = make_user()
    first = SocialAccount.objects.create(user_id=user.pk, **identity())
    second = SocialAccount.objects.create(
        user_id=user.pk, **identity(provider_user_id="2", is_login_method=False)
    )
    found = storage.find_user_by_id(user.pk)
    assert set(found.social_accounts) == {first, second}
    assert found.social_accounts.filter(is_login_method=True).get() == first


def test_attributes_may_be_assigned(storage):
    # cross-auth 0.12 declares them as plain attributes.
    found = storage.find_user_by_id(make_user().pk)
    found.email = "else@example.org"
    found.hashed_password = None
    assert (found.email, found.hashed_password) == ("else@example.org", None)


def test_new_address_is_not_verified(storage):
    assert storage.find_user_by_id(make_user().pk).email_verified is False


def test_user_made_with_a_verified_address_has_it(storage):
    user = storage.create_user(
        user_info={}, email="ada@example.org", email_verified=True
    )
    assert user.email_verified is True
    assert storage.find_user_by_id(user.id).email_verified is True


def test_marked_address_is_verified(storage):
    user = make_user()
    accounts.mark_email_verified(user)
    assert storage.find_user_by_id(user.pk).email_verified is True


def test_user_of_a_request_is_verified_too(storage):
    user = make_user()
    with sent(signals.email_verified) as calls:
        accounts.mark_email_verified(SimpleLazyObject(lambda: user))
    assert [call["sender"] for call in calls] == [get_user_model()]
    assert storage.find_user_by_id(user.pk).email_verified is True


def test_user_loaded_without_its_columns_is_verified_too(storage):
    pk = make_user().pk
    accounts.mark_email_verified(get_user_model().objects.only("pk").get(pk=pk))
    assert storage.find_user_by_id(pk).email_verified is True


def test_marking_twice_is_fine(storage):
    user = make_user()
    accounts.mark_email_verified(user)
    accounts.mark_email_verified(user)
    assert storage.find_user_by_id(user.pk).email_verified is True


def test_address_changed_elsewhere_is_not_verified(storage):
    user = make_user("ada@example.org")
    accounts.mark_email_verified(user)
    set_email(get_user_model().objects.get(pk=user.pk), "eve@example.org")
    assert storage.find_user_by_id(user.pk).email_verified is False
    assert storage.find_user_by_email("eve@example.org").email_verified is False


def test_address_changed_in_sql_is_not_verified(storage):
    user = make_user("ada@example.org")
    accounts.mark_email_verified(user)
    name = user.get_email_field_name()
    get_user_model().objects.filter(pk=user.pk).update(**{name: "eve@example.org"})
    assert storage.find_user_by_id(user.pk).email_verified is False


def test_changed_address_is_verified_when_it_is_marked(storage):
    user = make_user("ada@example.org")
    accounts.mark_email_verified(user)
    set_email(user, "eve@example.org")
    accounts.mark_email_verified(user)
    assert storage.find_user_by_id(user.pk).email_verified is True


def test_other_case_is_the_same_address(storage):
    user = make_user("ada@example.org")
    accounts.mark_email_verified(user)
    set_email(user, "Ada@Example.ORG")
    assert storage.find_user_by_id(user.pk).email_verified is True


def test_nothing_is_verified_without_an_address(storage):
    user = make_user("")
    with sent(signals.email_verified) as calls:
        accounts.mark_email_verified(user)
    assert calls == []
    assert storage.find_user_by_id(user.pk).email_verified is False


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (" Ada@Example.ORG\n", "ada@example.org"),
        ("\N{LATIN CAPITAL LETTER E WITH ACUTE}va@example.org", "éva@example.org"),
        # Lower-cased by Unicode it would be somebody else's address.
        ("mi\N{KELVIN SIGN}e@example.org", "mi\N{KELVIN SIGN}e@example.org"),
    ],
)
def test_addresses_have_one_spelling(written, stored):
    assert normalize_email(written) == stored


def test_two_looks_at_one_user_are_equal(storage):
    user = storage.create_user(**user_create())
    again = storage.find_user_by_id(user.id)
    assert again == user
    assert hash(again) == hash(user)
    assert again != user.id
