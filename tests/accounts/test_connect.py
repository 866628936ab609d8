from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from crossauth_django.exceptions import AccountLinkedError, AccountMissingError
from crossauth_django.models import SocialAccount
from tests.accounts.conftest import credentials, identity, make_user

pytestmark = pytest.mark.django_db

NOON = datetime(2030, 1, 2, 12, 0, 0, 123456, tzinfo=timezone.utc)


def connect(storage, user, **changes):
    return storage.create_social_account(
        user_id=user.pk, **identity(**changes), extra_fields=None
    )


def test_every_field_is_stored(storage, keep_tokens):
    account = connect(
        storage,
        make_user(),
        provider="acme",
        provider_user_id="Abc 1",
        access_token="access",
        refresh_token="refresh",
        access_token_expires_at=NOON,
        refresh_token_expires_at=NOON + timedelta(days=1),
        scope="openid email",
        user_info={"name": "Ada", "nested": [1, None, {"a": True}]},
        provider_email="Ada@Example.org",
        provider_email_verified=True,
        is_login_method=False,
    )
    found = storage.find_social_account_by_id(account.id)
    assert found.provider == "acme"
    assert found.provider_user_id == "Abc 1"
    assert found.access_token == "access"
    assert found.refresh_token == "refresh"
    assert found.access_token_expires_at == NOON
    assert found.refresh_token_expires_at == NOON + timedelta(days=1)
    assert found.scope == "openid email"
    assert found.user_info == {"name": "Ada", "nested": [1, None, {"a": True}]}
    assert found.provider_email == "Ada@Example.org"
    assert found.provider_email_verified is True
    assert found.is_login_method is False


@pytest.mark.parametrize("verified", [None, True, False])
def test_what_the_provider_did_not_say_stays_none(storage, verified):
    account = connect(
        storage, make_user(), provider_email=None, provider_email_verified=verified
    )
    found = storage.find_social_account_by_id(account.id)
    assert found.provider_email is None
    assert found.provider_email_verified is verified


def test_expiry_is_aware_in_every_zone(storage):
    cet = timezone(timedelta(hours=1))
    account = connect(
        storage, make_user(), access_token_expires_at=NOON.astimezone(cet)
    )
    found = storage.find_social_account_by_id(account.id).access_token_expires_at
    assert found == NOON
    assert found.tzinfo is not None


def test_naive_expiry_is_utc(storage):
    account = connect(
        storage, make_user(), access_token_expires_at=NOON.replace(tzinfo=None)
    )
    found = storage.find_social_account_by_id(account.id).access_token_expires_at
    assert found == NOON


def test_user_id_may_be_text(storage):
    user = make_user()
    account = storage.create_social_account(user_id=str(user.pk), **identity())
    assert account.user_id == user.pk


def test_retry_of_the_same_owner_returns_the_row_unchanged(storage, keep_tokens):
    user = make_user()
    first = connect(storage, user, access_token="first", scope="a")
    again = connect(storage, user, access_token="second", scope="b")
    assert again.id == first.id
    found = storage.find_social_account_by_id(first.id)
    assert (found.access_token, found.scope) == ("first", "a")


def test_retry_never_demotes(storage):
    user = make_user()
    connect(storage, user, is_login_method=True)
    assert connect(storage, user, is_login_method=False).is_login_method is True


def test_retry_never_promotes(storage):
    user = make_user()
    connect(storage, user, is_login_method=False)
    with pytest.raises(AccountLinkedError):
        connect(storage, user, is_login_method=True)
    assert SocialAccount.objects.get().is_login_method is False


@pytest.mark.parametrize("is_login_method", [True, False])
def test_identity_has_one_owner(storage, is_login_method):
    owner = make_user()
    connect(storage, owner)
    with pytest.raises(AccountLinkedError):
        connect(storage, make_user("b@example.org"), is_login_method=is_login_method)
    assert SocialAccount.objects.get().user_id == owner.pk


def test_unknown_user_is_an_error_and_leaves_an_outer_transaction_usable(storage):
    gone = make_user()
    pk = gone.pk
    gone.delete()
    with transaction.atomic():
        for user_id in (pk, "garbage", None, ""):
            with pytest.raises(AccountMissingError):
                storage.create_social_account(user_id=user_id, **identity())
        make_user("bob@example.org")
    connection.check_constraints()
    assert SocialAccount.objects.count() == 0


def test_refused_connection_leaves_an_outer_transaction_usable(storage):
    connect(storage, make_user())
    other = make_user("bob@example.org")
    with transaction.atomic():
        with pytest.raises(AccountLinkedError):
            connect(storage, other)
        connect(storage, other, provider_user_id="2")
    assert SocialAccount.objects.count() == 2


def test_unrelated_integrity_error_propagates(storage):
    user = make_user()
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            connect(storage, user, is_login_method=None)
        assert SocialAccount.objects.count() == 0


def test_unknown_fields_are_refused(storage):
    user = make_user()
    with pytest.raises(TypeError):
        storage.create_social_account(
            user_id=user.pk, **identity(), extra_fields={"plan": "free"}
        )
    account = connect(storage, user)
    with pytest.raises(TypeError):
        storage.update_social_account(
            account.id, **credentials(), extra_fields={"plan": "free"}
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"provider": ""},
        {"provider": "a" * 65},
        {"provider_user_id": ""},
        {"provider_user_id": "a" * 256},
        {"provider_user_id": "a\0b"},
        {"provider_user_id": "\ud800"},
        {"provider_user_id": 1},
        {"provider_email": "a" * 321},
    ],
)
def test_identity_that_cannot_be_stored_exactly_is_refused(storage, changes):
    user = make_user()
    with transaction.atomic():
        with pytest.raises(ValueError, match="characters of text"):
            connect(storage, user, **changes)
        assert SocialAccount.objects.count() == 0


def test_longest_identity_is_stored_exactly(storage):
    names = {"provider": "é" * 64, "provider_user_id": "😀" * 255}
    account = connect(storage, make_user(), **names, provider_email="é" * 320)
    assert storage.find_social_account(**names) == account


def test_profile_with_text_that_a_database_refuses_is_cleaned(storage):
    profile = {"na\0me": "A\0da", "bad": ["\ud800", float("nan"), ("x", 1.5)]}
    account = connect(storage, make_user(), user_info=profile, scope="a\0b")
    found = storage.find_social_account_by_id(account.id)
    assert found.user_info == {"name": "Ada", "bad": ["?", None, ["x", 1.5]]}
    assert found.scope == "ab"


def test_update_overwrites_everything_with_none_too(storage, keep_tokens):
    account = connect(
        storage,
        make_user(),
        access_token="access",
        refresh_token="refresh",
        access_token_expires_at=NOON,
        scope="a",
        provider_email_verified=True,
    )
    storage.update_social_account(account.id, **credentials(provider_email=None))
    found = storage.find_social_account_by_id(account.id)
    assert found.access_token is None
    assert found.refresh_token is None
    assert found.access_token_expires_at is None
    assert found.scope is None
    assert found.provider_email is None
    assert found.provider_email_verified is None


def test_update_returns_the_row_as_it_is_now(storage):
    account = connect(storage, make_user())
    updated = storage.update_social_account(
        str(account.id), **credentials(scope="new", user_info={"a": 1})
    )
    assert (updated.id, updated.scope, updated.user_info) == (
        account.id,
        "new",
        {"a": 1},
    )


def test_update_promotes_when_it_is_told_and_never_demotes(storage):
    account = connect(storage, make_user(), is_login_method=False)
    storage.update_social_account(account.id, **credentials())
    assert SocialAccount.objects.get().is_login_method is False
    storage.update_social_account(account.id, **credentials(), enable_login=True)
    assert SocialAccount.objects.get().is_login_method is True
    storage.update_social_account(account.id, **credentials(), enable_login=False)
    assert SocialAccount.objects.get().is_login_method is True


def test_update_moves_neither_owner_nor_identity(storage):
    owner = make_user()
    account = connect(storage, owner)
    updated = storage.update_social_account(account.id, **credentials())
    assert (updated.user_id, updated.provider, updated.provider_user_id) == (
        owner.pk,
        "acme",
        "1",
    )


def test_update_remembers_when(storage):
    account = connect(storage, make_user())
    with time_machine.travel(NOON, tick=False):
        updated = storage.update_social_account(account.id, **credentials())
    assert updated.updated_at == NOON
    assert updated.created_at == account.created_at


@pytest.mark.parametrize("account_id", [0, 10**9, "x", None])
def test_update_of_a_missing_row_is_a_value_error(storage, account_id):
    with pytest.raises(ValueError, match="no such") as caught:
        storage.update_social_account(account_id, **credentials())
    assert isinstance(caught.value, AccountMissingError)


def test_promotion_that_cannot_be_stored_writes_nothing(storage, keep_tokens):
    account = connect(storage, make_user(), access_token="first", is_login_method=False)
    with pytest.raises(ValueError, match="characters of text"):
        storage.update_social_account(
            account.id,
            **credentials(access_token="second", provider_email="a" * 321),
            enable_login=True,
        )
    found = storage.find_social_account_by_id(account.id)
    assert (found.access_token, found.is_login_method) == ("first", False)


def test_delete_asks_no_question(storage):
    account = connect(storage, make_user())
    storage.delete_social_account(str(account.id))
    storage.delete_social_account(account.id)
    storage.delete_social_account("garbage")
    assert SocialAccount.objects.count() == 0
