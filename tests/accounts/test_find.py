from __future__ import annotations

import pytest
from django.db import connection

from crossauth_django.exceptions import AccountNotLinkedError
from crossauth_django.models import SocialAccount
from tests.accounts.conftest import (
    has_unique_address,
    identity,
    make_user,
    only_where,
    user_create,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "email", ["ada@example.org", "ADA@EXAMPLE.ORG", " Ada@example.org "]
)
def test_address_is_found_in_any_case(storage, email):
    user = make_user("Ada@Example.org")
    assert storage.find_user_by_email(email).id == user.pk


def test_address_beyond_ascii_is_found_in_any_case(storage):
    user = make_user("\N{LATIN CAPITAL LETTER E WITH ACUTE}va@example.org")
    assert storage.find_user_by_email("éva@example.org").id == user.pk
    assert storage.find_user_by_email("ÉVA@EXAMPLE.ORG").id == user.pk


def test_accent_makes_another_address(storage):
    make_user("eva@example.org")
    assert storage.find_user_by_email("éva@example.org") is None


@pytest.mark.parametrize("email", ["a_a@example.org", "a%@example.org", "%"])
def test_wildcards_match_nothing(storage, email):
    make_user("ada@example.org")
    assert storage.find_user_by_email(email) is None


@pytest.mark.parametrize("email", ["", " ", "nobody@example.org"])
def test_unknown_and_blank_address_is_none(storage, email):
    make_user("")
    assert storage.find_user_by_email(email) is None


@only_where(not has_unique_address())
def test_address_of_two_users_is_refused(storage):
    make_user("ada@example.org")
    make_user("ADA@example.org")
    with pytest.raises(AccountNotLinkedError):
        storage.find_user_by_email("ada@example.org")


def test_id_is_found_native_and_as_text(storage):
    user = make_user()
    assert storage.find_user_by_id(user.pk).id == user.pk
    assert storage.find_user_by_id(str(user.pk)).id == user.pk


def test_inactive_user_is_not_found_by_id(storage):
    # Or a session of the library would outlive the account.
    user = make_user(is_active=False)
    assert storage.find_user_by_id(user.pk) is None


@only_where(connection.vendor == "sqlite")
@pytest.mark.parametrize(
    ("address", "spellings"),
    [
        ("ÄÖäö@x.org", ["äöäö@x.org", "ÄÖÄÖ@X.ORG", "ÄÖäö@x.org"]),
        ("abcİ@x.org", ["abci\u0307@x.org", "ABCİ@X.ORG"]),
        ("ada@ÄÖäö", ["ADA@äöÄÖ"]),
    ],
)
def test_letters_beyond_ascii_have_case_too(storage, address, spellings):
    user = make_user(address)
    for spelling in spellings:
        assert storage.find_user_by_email(spelling).id == user.pk
        with pytest.raises(AccountNotLinkedError):
            storage.create_user(**user_create(spelling))


def test_inactive_user_still_holds_the_address(storage):
    user = make_user(is_active=False)
    assert storage.find_user_by_email("ada@example.org").id == user.pk


@pytest.fixture
def connected() -> SocialAccount:
    return SocialAccount.objects.create(
        user_id=make_user().pk,
        **identity(provider="acme", provider_user_id="Abc", is_login_method=False),
    )


def test_identity_is_found_exactly(storage, connected):
    assert (
        storage.find_social_account(provider="acme", provider_user_id="Abc")
        == connected
    )
    assert storage.has_social_account(provider="acme", provider_user_id="Abc") is True


@pytest.mark.parametrize(
    ("provider", "provider_user_id"),
    [("acme", "abc"), ("ACME", "Abc"), ("acme", "Abc "), ("acme", "Äbc"), ("acme", "")],
)
def test_similar_identity_is_another(storage, connected, provider, provider_user_id):
    names = {"provider": provider, "provider_user_id": provider_user_id}
    assert storage.find_social_account(**names) is None
    assert storage.has_social_account(**names) is False


def test_similar_identities_may_have_different_owners(storage):
    for number, similar in enumerate(["Abc", "abc", "abc ", "äbc"]):
        user = make_user(f"{number}@example.org")
        SocialAccount.objects.create(
            user_id=user.pk, **identity(provider_user_id=similar)
        )
    found = storage.find_social_account(provider="acme", provider_user_id="abc ")
    assert found.provider_user_id == "abc "


def test_filters_narrow_the_search(storage, connected):
    names = {"provider": "acme", "provider_user_id": "Abc"}
    owner, other = connected.user_id, make_user("bob@example.org").pk
    assert storage.find_social_account(**names, user_id=owner) == connected
    assert storage.find_social_account(**names, user_id=str(owner)) == connected
    assert storage.find_social_account(**names, user_id=other) is None
    assert storage.find_social_account(**names, user_id="garbage") is None
    assert storage.find_social_account(**names, is_login_method=False) == connected
    assert storage.find_social_account(**names, is_login_method=True) is None
    # Hidden by a filter, it still exists.
    assert storage.has_social_account(**names) is True


def test_connection_is_found_by_id_native_and_as_text(storage, connected):
    assert storage.find_social_account_by_id(connected.pk) == connected
    assert storage.find_social_account_by_id(str(connected.pk)) == connected
    assert storage.find_social_account_by_id(connected.pk + 1) is None


def test_connections_are_listed_in_creation_order(storage):
    user = make_user()
    accounts = [
        SocialAccount.objects.create(user_id=user.pk, **identity(provider_user_id=name))
        for name in "cab"
    ]
    other = make_user("bob@example.org")
    SocialAccount.objects.create(user_id=other.pk, **identity(provider_user_id="x"))
    assert list(storage.list_social_accounts(user_id=user.pk)) == accounts
    assert list(storage.list_social_accounts(user_id=str(user.pk))) == accounts
