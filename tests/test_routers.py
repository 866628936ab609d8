"""Several databases: the routers decide, a manager's ``using`` decides before them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from crossauth_django import accounts
from crossauth_django.fields import utc_now
from crossauth_django.managers import AccountsManager
from crossauth_django.models import SocialAccount, VerifiedEmail
from crossauth_django.storage import AccountsStorage, SessionStorage
from tests.accounts.conftest import (
    credentials,
    identity,
    identity_of,
    make_user,
    user_create,
)

pytestmark = pytest.mark.django_db(databases="__all__")


class Router:
    """Reads and writes of every model go where the test says."""

    reads = writes = "default"

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.reads

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return self.writes

    def allow_relation(self, *arguments: Any, **hints: Any) -> bool:
        return True


@pytest.fixture
def router(settings: Any) -> Router:
    if "postgres" not in settings.DATABASES and "CI" not in os.environ:
        pytest.skip("no second database runs here")
    router = Router()
    settings.DATABASE_ROUTERS = [router]
    return router


def count(alias: str) -> tuple[int, int]:
    users = get_user_model()._base_manager.using(alias).count()
    return users, SocialAccount.objects.using(alias).count()


def test_writes_go_where_the_router_says(router):
    router.reads = router.writes = "postgres"
    storage = AccountsStorage()
    user, account = storage.create_user_with_identity(
        user=user_create(email_verified=True), identity=identity_of()
    )
    second = storage.create_social_account(
        user_id=user.id, **identity(provider_user_id="2")
    )
    storage.update_social_account(second.id, **credentials(scope="a"))
    assert count("postgres") == (1, 2)
    assert storage.find_user_by_id(user.id).email_verified is True
    result = storage.disconnect_social_account(
        user_id=user.id, provider="acme", social_account_id=account.id
    )
    assert result == "disconnected"
    storage.delete_social_account(second.id)
    accounts.sign_in_identity(
        provider="google",
        provider_user_id="1",
        email="ada@example.org",
        email_verified=True,
        user_info={},
    )
    assert count("postgres") == (1, 1)
    assert count("default") == (0, 0)
    assert VerifiedEmail.objects.using("default").count() == 0


def test_reads_go_where_the_router_says(router):
    router.writes = "postgres"
    storage = AccountsStorage()
    user, account = storage.create_user_with_identity(
        user=user_create(), identity=identity_of()
    )
    names = {"provider": "acme", "provider_user_id": "1"}
    assert storage.find_user_by_id(user.id) is None
    assert storage.find_user_by_email("ada@example.org") is None
    assert storage.has_social_account(**names) is False
    assert storage.find_social_account_by_id(account.id) is None
    assert storage.list_social_accounts(user_id=user.id) == []
    router.reads = "postgres"
    assert storage.find_user_by_id(user.id) == user
    assert storage.find_social_account(**names) == account


@pytest.mark.parametrize("change", ["save", "disable", "delete"])
def test_what_another_database_does_with_a_user_ends_no_strangers_session(
    router, change
):
    user = make_user()
    now = utc_now()
    session = SessionStorage().create(
        token_hash="hash",
        user_id=user.pk,
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(hours=1),
    )
    stranger = get_user_model()(pk=user.pk, username="bob")
    stranger.save(using="postgres")
    stranger.set_password("new")
    stranger.is_active = change != "disable"
    (stranger.delete if change == "delete" else stranger.save)(using="postgres")
    assert SessionStorage().get_any(session.id).status == "active"


def test_managers_own_database_comes_first(router):
    manager: Any = AccountsManager()
    manager.model = get_user_model()
    manager = manager.db_manager("postgres")
    user = manager.create_user(email="ada@example.org", email_verified=True)
    assert count("postgres") == (1, 0)
    assert count("default") == (0, 0)
    assert manager.find_user_by_id(user.pk) == user
