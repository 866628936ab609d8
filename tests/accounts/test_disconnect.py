from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from crossauth_django.models import SocialAccount
from tests.accounts.conftest import identity, make_user

pytestmark = pytest.mark.django_db


def connect(user, number=1, **changes):
    return SocialAccount.objects.create(
        user_id=user.pk, **identity(provider_user_id=str(number), **changes)
    )


def disconnect(storage, account, **changes):
    arguments = {
        "user_id": account.user_id,
        "provider": account.provider,
        "social_account_id": account.pk,
        **changes,
    }
    return storage.disconnect_social_account(**arguments)


def test_one_of_two_login_methods_may_go(storage):
    user = make_user()
    first, second = connect(user, 1), connect(user, 2)
    assert disconnect(storage, first) == "disconnected"
    assert SocialAccount.objects.get() == second


def test_last_login_method_stays(storage):
    account = connect(make_user())
    assert disconnect(storage, account) == "last_login_method"
    assert SocialAccount.objects.get() == account


def test_ids_may_be_text(storage):
    user = make_user(password="secret")
    account = connect(user)
    result = disconnect(
        storage, account, user_id=str(user.pk), social_account_id=str(account.pk)
    )
    assert result == "disconnected"


def test_password_is_another_way_in(storage):
    account = connect(make_user(password="secret"))
    assert disconnect(storage, account) == "disconnected"


def test_password_is_no_way_in_where_passwords_are_off(storage, settings):
    settings.CROSSAUTH_PASSWORD_LOGIN = False
    account = connect(make_user(password="secret"))
    assert disconnect(storage, account) == "last_login_method"


def test_blank_password_is_no_way_in(storage):
    user = make_user()
    get_user_model().objects.filter(pk=user.pk).update(password="")
    assert disconnect(storage, connect(user)) == "last_login_method"


def test_connected_only_account_is_no_way_in(storage):
    user = make_user()
    connect(user, 1, is_login_method=False)
    assert disconnect(storage, connect(user, 2)) == "last_login_method"


def test_connected_only_account_may_always_go(storage):
    account = connect(make_user(), is_login_method=False)
    assert disconnect(storage, account) == "disconnected"
    assert SocialAccount.objects.count() == 0


def test_another_users_login_method_is_no_way_in(storage):
    connect(make_user("bob@example.org"), 1)
    assert disconnect(storage, connect(make_user(), 2)) == "last_login_method"


def test_another_users_account_is_not_found(storage):
    account = connect(make_user(password="secret"))
    other = make_user("bob@example.org")
    assert disconnect(storage, account, user_id=other.pk) == "not_found"
    assert SocialAccount.objects.get() == account


@pytest.mark.parametrize("provider", ["other", "ACME", "acme ", "", "a\0", None, 1])
def test_provider_must_be_exact(storage, provider):
    account = connect(make_user(password="secret"))
    assert disconnect(storage, account, provider=provider) == "not_found"
    assert SocialAccount.objects.get() == account


def test_second_time_is_not_found(storage):
    account = connect(make_user(password="secret"))
    pk = account.pk
    assert disconnect(storage, account) == "disconnected"
    account.pk = pk
    assert disconnect(storage, account) == "not_found"


def test_users_row_is_otherwise_unchanged(storage):
    user = make_user(password="secret")
    before = get_user_model().objects.filter(pk=user.pk).values().get()
    assert disconnect(storage, connect(user)) == "disconnected"
    assert get_user_model().objects.filter(pk=user.pk).values().get() == before
