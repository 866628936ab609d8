"""A site that changes to this engine signs nobody out."""

from __future__ import annotations

import functools
import time
from datetime import timedelta
from importlib import import_module

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings

from crossauth_django import devices
from crossauth_django.fields import utc_now
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from crossauth_django.sessions.clients import meta_of
from crossauth_django.sessions.previous import outage_of
from crossauth_django.storage import SessionStorage
from tests.accounts.conftest import make_user, set_email
from tests.concurrency import run_together
from tests.sessions import failing, test_outage
from tests.sessions.conftest import PASSWORD, asgi_request, run, sign_in, whoami

own_redis = test_outage.server

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


def test_its_device_is_the_browser_that_brings_it(moved, user):
    headers = {"HTTP_USER_AGENT": "Firefox", "REMOTE_ADDR": "198.51.100.7"}
    moved.get("/whoami/", **headers)
    (device,) = devices.list_sessions(user)
    assert (device.user_agent, device.address) == ("Firefox", "198.51.100.7")


def test_so_it_is_behind_asgi(transactional_db, moved, user):
    scope = {"client": ("127.0.0.1", 4711), "agent": b"Firefox"}
    assert run(asgi_request(moved, "/whoami/", **scope))[0] == 200
    (device,) = devices.list_sessions(user)
    assert (device.user_agent, device.address) == ("Firefox", "127.0.0.1")


def test_outside_of_a_request_nobody_brings_it(moved, user):
    assert SessionStore(moved.cookies["sessionid"].value).load()
    (device,) = devices.list_sessions(user)
    assert (device.user_agent, device.address) == ("", "")


def test_a_header_that_comes_twice_is_one_with_both():
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"192.0.2.2")]
    meta = meta_of({"headers": headers, "client": None})
    assert meta == {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "192.0.2.1,192.0.2.2"}


def test_it_is_rewritten_and_leaves_the_other_engine(moved, previous, user):
    key = moved.cookies["sessionid"].value
    whoami(moved)
    row = UserSession.objects.get()
    assert (row.user_id, row.token_hash) == (user.pk, SessionStore(key).digest)
    assert row.password_fingerprint
    assert not previous(key).exists(key)
    assert not Session.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_view_that_rolls_back_takes_nobodys_session(moved, user, settings):
    # Else CSRF's middleware has moved it in before the view begins.
    settings.CSRF_USE_SESSIONS = False
    configured = connection.settings_dict
    configured["ATOMIC_REQUESTS"] = True
    try:
        assert moved.get("/missing/").status_code == 404
        assert not UserSession.objects.exists()
        assert whoami(moved) == str(user.pk)
    finally:
        configured["ATOMIC_REQUESTS"] = False
    assert whoami(moved) == str(user.pk)


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


# What has ended stays ended.


@pytest.mark.parametrize(
    "end",
    [
        devices.revoke_all,
        lambda user: set_email(user, "new@example.org"),
        lambda user: SessionStorage().revoke_all_for_user(
            user.pk, revoked_at=utc_now()
        ),
    ],
    ids=["revoke_all", "address", "storage"],
)
def test_what_ends_all_reaches_who_has_not_moved_in(moved, user, end):
    end(user)
    caches["redis"].clear()
    purge_after(timedelta(days=300))
    assert whoami(moved) == ""
    assert devices.list_sessions(user, include_ended=True) == []
    assert whoami(sign_in(user)) == str(user.pk)


def purge_after(time):
    with time_machine.travel(utc_now() + time):
        call_command("crossauth_purge", verbosity=0)


def test_revoke_others_reaches_them_and_spares_who_asks(moved, user):
    other = after(Client())
    other.cookies = sign_in(user).cookies
    other.post("/others/")
    assert (whoami(other), whoami(moved)) == (str(user.pk), "")


def test_a_user_who_was_disabled_is_not_signed_in_again_later(moved, user):
    for is_active in (False, True):
        user.is_active = is_active
        user.save()
    assert whoami(moved) == ""


@pytest.mark.parametrize("fields", [None, ["last_login"], ["password"]])
def test_saving_a_user_who_has_not_changed_ends_nothing(moved, user, fields):
    user.save(update_fields=fields)
    assert whoami(moved) == str(user.pk)


def test_a_user_who_is_new_has_nothing_to_compare(previous, settings):
    settings.SESSION_ENGINE = OURS
    new = make_user("new@example.org", PASSWORD)
    assert whoami(sign_in(new)) == str(new.pk)
    assert UserSession.objects.count() == 1


def test_the_mark_goes_with_the_setting(moved, user, settings):
    devices.revoke_all(user)
    assert UserSession.objects.count() == 1
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = None
    purge_after(timedelta(minutes=15))
    assert not UserSession.objects.exists()


def test_who_moves_in_while_all_ends_is_ended_too(transactional_db, settings):
    user, engine = (
        make_user("ann@example.org", PASSWORD),
        "django.contrib.sessions.backends.db",
    )
    for _ in range(10):
        settings.SESSION_ENGINE = engine
        keys = [sign_in(user).cookies["sessionid"].value for _ in range(4)]
        settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE, settings.SESSION_ENGINE = (
            engine,
            OURS,
        )
        work = [functools.partial(SessionStore(key).load) for key in keys]
        work.insert(2, functools.partial(devices.revoke_all, user))
        run_together(5, lambda work=work: work.pop()())
        assert [SessionStore(key).load() for key in keys] == [{}] * 4


# The other engine does not answer.


@pytest.fixture(autouse=True)
def no_outage():
    outage_of.cache_clear()


@pytest.fixture
def unmoved(settings, user):
    """A browser that signed in by Django's engine; ``failing.fails`` says what fails there."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    browser = sign_in(user)
    settings.SESSION_ENGINE = OURS
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = "tests.sessions.failing"
    yield after(browser)
    failing.fails.clear()


def test_a_session_that_cannot_be_looked_up_there_keeps_its_cookie(
    unmoved, user, caplog
):
    failing.fails.add("load")
    for _ in range(3):
        answer = unmoved.get("/whoami/")
        assert (answer.content, len(answer.cookies)) == (b"", 0)
    assert len(caplog.records) == 1
    failing.fails.clear()
    time.sleep(1.05)
    assert whoami(unmoved) == str(user.pk)


@pytest.mark.parametrize("ends", [True, False])
def test_a_session_that_could_not_be_deleted_there_does_not_move_in_again(
    unmoved, user, ends
):
    failing.fails.add("delete")
    assert whoami(unmoved) == str(user.pk)
    if ends:
        devices.revoke_all(user)
    with time_machine.travel(utc_now() + timedelta(hours=1)):
        call_command("crossauth_purge", verbosity=0)
        call_command("clearsessions")
        assert whoami(unmoved) == ""


def test_who_signs_out_while_it_fails_is_signed_out_for_good(unmoved):
    key = unmoved.cookies["sessionid"].value
    failing.fails.update(["load", "delete"])
    SessionStore().delete(key)
    failing.fails.clear()
    time.sleep(1.05)
    assert whoami(unmoved) == ""


@pytest.mark.parametrize("name", ["db", "cached_db", "cache"])
def test_an_outage_of_its_cache_is_no_error(
    own_redis, transactional_db, settings, name
):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{name}"
    settings.SESSION_CACHE_ALIAS = "own"
    browser = sign_in(make_user("ann@example.org", PASSWORD))
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = settings.SESSION_ENGINE
    settings.SESSION_ENGINE = OURS
    own_redis.kill()
    browser = after(browser)
    answers = [browser.get("/whoami/") for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 200]
    assert not any(each.cookies for each in answers)


# Visitors.


def test_visitors_requests_at_once_all_find_it(crew, transactional_db, settings):
    for _ in range(10):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        visitor = Client()
        visitor.get("/put/?cart=full")
        found = crew.run(move, visitor.cookies["sessionid"].value)
        assert found == ["full"] * 8
