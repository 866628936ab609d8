"""A site that changes to this engine signs nobody out."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.contrib.sessions.models import Session
from django.test import Client, override_settings

from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.sessions.conftest import sign_in, whoami

OURS = "crossauth_django.sessions"


@pytest.fixture(params=["db", "cached_db", "cache"])
def previous(request, settings, user):
    """The engine that the site has used until now."""
    engine = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_CACHE_ALIAS = "redis"
    settings.SESSION_ENGINE = engine
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = engine
    return import_module(engine).SessionStore


@pytest.fixture
def moved(previous, settings, user):
    """A browser that signed in before the change."""
    browser = sign_in(user)
    browser.get("/put/?cart=full")
    assert len(browser.cookies["sessionid"].value) == 32
    settings.SESSION_ENGINE = OURS
    return after(browser)


def after(browser):
    """The same browser; a test client keeps the engine that it began with."""
    client = Client()
    client.cookies = browser.cookies
    return client


def test_who_was_signed_in_still_is(moved, user):
    assert whoami(moved) == str(user.pk)
    assert moved.get("/kept/?name=cart").content == b"full"
    assert whoami(moved) == str(user.pk)


def test_it_is_rewritten_and_leaves_the_other_engine(moved, previous, user):
    key = moved.cookies["sessionid"].value
    whoami(moved)
    row = UserSession.objects.get()
    assert (row.user_id, row.token_hash) == (user.pk, SessionStore(key).digest)
    assert row.password_fingerprint
    assert not previous(key).exists(key)
    assert not Session.objects.exists()


def test_it_stays_without_the_setting_afterwards(moved, user, settings):
    whoami(moved)
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = None
    assert whoami(moved) == str(user.pk)


def test_signing_out_ends_it_everywhere(moved, settings):
    key = moved.cookies["sessionid"].value
    moved.post("/logout/")
    again = Client()
    again.cookies["sessionid"] = key
    assert whoami(again) == ""


def test_a_visitors_session_moves_too(previous, settings):
    visitor = Client()
    visitor.get("/put/?cart=full")
    settings.SESSION_ENGINE = OURS
    visitor = after(visitor)
    for _ in range(2):
        assert visitor.get("/kept/?name=cart").content == b"full"


def test_more_browsers_than_the_cap_stay(previous, settings, user):
    browsers = [sign_in(user) for _ in range(7)]
    settings.SESSION_ENGINE = OURS
    browsers = [after(browser) for browser in browsers]
    assert all(map(whoami, browsers))
    assert all(map(whoami, browsers))


def test_without_the_setting_they_are_unknown(moved, settings):
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = None
    assert whoami(moved) == ""


def test_an_unknown_key_is_unknown_to_both(previous, settings):
    settings.SESSION_ENGINE = OURS
    client = Client()
    client.cookies["sessionid"] = "a" * 32
    assert whoami(client) == ""
    assert not UserSession.objects.exists()


def test_a_session_that_nobody_has_looked_at_is_deleted_there(moved, previous):
    key = moved.cookies["sessionid"].value
    SessionStore().delete(key)
    assert not previous(key).exists(key)


def move(key):
    with override_settings(
        CROSSAUTH_CACHE_ALIAS="redis",
        CROSSAUTH_SESSION_PREVIOUS_ENGINE="django.contrib.sessions.backends.db",
    ):
        return SessionStore(key).load().get("cart")


def test_requests_at_once_all_find_it(crew, user, transactional_db, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    for _ in range(5):
        browser = sign_in(user)
        browser.get("/put/?cart=full")
        found = crew.run(move, browser.cookies["sessionid"].value)
        assert found == ["full"] * 8


def test_who_was_deleted_meanwhile_is_signed_out(moved, user):
    user.delete()
    assert whoami(moved) == ""
    assert not UserSession.objects.exists()
