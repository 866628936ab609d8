"""0.12's handlers are coroutines that call the storages directly."""

from __future__ import annotations

import asyncio
import threading

import pytest

from crossauth_django.models import SocialAccount
from tests.accounts.conftest import (
    credentials,
    identity,
    identity_of,
    make_user,
    user_create,
)

pytestmark = pytest.mark.django_db(transaction=True)


def on_loop(function):
    async def main():
        return function()

    return asyncio.run(main())


def test_every_method_works_on_a_running_loop(storage, monkeypatch):
    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)

    def everything():
        user, account = storage.create_user_with_identity(
            user=user_create(email_verified=True), identity=identity_of()
        )
        found = storage.find_user_by_email("ada@example.org")
        assert (found.id, found.email_verified) == (user.id, True)
        assert found.hashed_password is None
        assert not found.has_usable_password
        assert [row.id for row in found.social_accounts] == [account.id]
        assert storage.find_user_by_id(str(user.id)).id == user.id
        names = {"provider": "acme", "provider_user_id": "1"}
        assert storage.find_social_account(**names).id == account.id
        assert storage.has_social_account(**names)
        assert storage.find_social_account_by_id(account.id).user_id == user.id
        other = storage.create_social_account(
            user_id=user.id, **identity(provider_user_id="2")
        )
        storage.update_social_account(other.id, **credentials(scope="a"))
        assert len(storage.list_social_accounts(user_id=user.id)) == 2
        calls = []
        storage.on_commit(lambda: calls.append(threading.current_thread()))
        assert calls == [threading.current_thread()]
        result = storage.disconnect_social_account(
            user_id=user.id, provider="acme", social_account_id=other.id
        )
        assert result == "disconnected"
        storage.delete_social_account(account.id)
        storage.create_user(**user_create("bob@example.org"))

    on_loop(everything)
    assert SocialAccount.objects.count() == 0


def test_verified_address_can_be_read_on_a_running_loop(storage):
    # Loaded without our manager, so that reading it needs a query.
    user = make_user()
    assert on_loop(lambda: storage._present(user).email_verified) is False


def test_no_pile_of_threads_is_left(storage):
    user = make_user()

    def often():
        for _ in range(100):
            storage.find_user_by_id(user.pk)

    on_loop(often)
    names = [thread.name for thread in threading.enumerate()]
    assert 1 <= sum(name.startswith("crossauth-loop") for name in names) <= 4
