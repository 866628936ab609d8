"""The app on a Redis Cluster: what one step spans lies in one place."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from crossauth_django import devices, limits, lockout, tokens
from crossauth_django.exceptions import InvalidTokenError
from crossauth_django.limits import RateLimit
from crossauth_django.sessions import SessionStore
from crossauth_django.stores import get_store
from tests.people import make_user
from tests.stores.servers import clustered

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "correct horse"


@pytest.fixture
def on_cluster(settings) -> Iterator[None]:
    settings.ROOT_URLCONF = "tests.lockout.urls"
    settings.SESSION_ENGINE = "crossauth_django.sessions"
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = None
    with clustered():
        yield
        get_store("redis").close()


def sign_in(name: str, password: str, client: Client | None = None) -> int:
    body = {"username": name, "password": password}
    return (client or Client()).post("/login/", body).status_code


def test_guesses_are_counted_locked_out_and_forgotten(db, on_cluster):
    for name in ("alice", "bob", "carol"):
        make_user(name)
        assert [sign_in(name, "wrong") for _ in range(4)] == [200] * 4
        assert sign_in(name, PASSWORD) == 302
        assert [sign_in(name, "wrong") for _ in range(6)] == [200] * 5 + [429]
        assert sign_in(name, PASSWORD) == 429
        assert lockout.unlock(username=name, address="127.0.0.1") >= 2
        assert sign_in(name, PASSWORD) == 302


def test_sessions_are_copied_listed_and_ended(db, on_cluster):
    # Each user's copies lie somewhere else.
    for name in ("alice", "bob", "carol", "dave"):
        user, browsers = make_user(name), [Client() for _ in range(3)]
        assert {sign_in(name, PASSWORD, each) for each in browsers} == {302}
        for browser in browsers:
            key = browser.cookies["sessionid"].value
            assert SessionStore(key)["_auth_user_id"] == str(user.pk)
        assert len(devices.list_sessions(user)) == 3
        assert devices.revoke_all(user) == 3
        for browser in browsers:
            key = browser.cookies["sessionid"].value
            assert "_auth_user_id" not in SessionStore(key)


def test_a_token_is_spent_once_and_a_budget_is_exact(db, on_cluster):
    user = make_user("alice")
    for number in range(8):
        token = tokens.issue("confirm", user, timedelta(minutes=1))
        assert tokens.redeem("confirm", token).user == user
        with pytest.raises(InvalidTokenError):
            tokens.redeem("confirm", token)
        taken = [limits.take("a", str(number), RateLimit(2, 60)) for _ in range(3)]
        assert [each.is_allowed for each in taken] == [True, True, False]
