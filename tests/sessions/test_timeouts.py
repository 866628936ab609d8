"""When a session is over, on the server."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from django.contrib.sessions.backends.base import UpdateError

from crossauth_django import devices
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from crossauth_django.storage import SessionStorage
from tests.accounts.conftest import make_user
from tests.sessions.conftest import PASSWORD, sign_in, whoami

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(params=["redis", "default"])
def clock(request, settings):
    settings.CROSSAUTH_CACHE_ALIAS = request.param
    with time_machine.travel(START, tick=False) as clock:
        yield clock


def test_idle_for_longer_than_the_timeout_signs_out(clock, user):
    browser = sign_in(user)
    clock.shift(timedelta(minutes=29))
    assert whoami(browser)
    clock.shift(timedelta(minutes=29, seconds=59))
    assert whoami(browser)
    clock.shift(timedelta(minutes=30, seconds=1))
    assert not whoami(browser)
    (device,) = devices.list_sessions(user, include_ended=True)
    assert (device.end_reason, device.is_active) == ("session_timeout", False)


def test_activity_does_not_extend_the_absolute_timeout(clock, user, settings):
    settings.CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT = timedelta(hours=1)
    browser = sign_in(user)
    for _ in range(3):
        clock.shift(timedelta(minutes=19))
        browser.get("/put/?a=1")
        assert whoami(browser)
    clock.shift(timedelta(minutes=3, seconds=1))
    assert not whoami(browser)
    (device,) = devices.list_sessions(user, include_ended=True)
    assert device.end_reason == "session_absolute_timeout"


def test_a_shorter_setting_counts_for_sessions_that_began_before(clock, user, settings):
    browser = sign_in(user)
    clock.shift(timedelta(minutes=10))
    settings.CROSSAUTH_SESSION_IDLE_TIMEOUT = timedelta(minutes=5)
    assert not whoami(browser)


def test_a_touch_interval_as_long_as_the_timeout_signs_no_active_user_out(
    clock, user, settings
):
    settings.CROSSAUTH_SESSION_IDLE_TIMEOUT = timedelta(seconds=60)
    browser = sign_in(user)
    for _ in range(6):
        clock.shift(timedelta(seconds=25))
        assert whoami(browser)
    clock.shift(timedelta(seconds=61))
    assert not whoami(browser)


def test_a_longer_setting_counts_from_the_next_activity_on(clock, user, settings):
    browser, idle = sign_in(user), sign_in(user)
    clock.shift(timedelta(minutes=20))
    settings.CROSSAUTH_SESSION_IDLE_TIMEOUT = timedelta(hours=2)
    assert whoami(browser)
    clock.shift(timedelta(minutes=50))
    # The list says what the engine does.
    assert len(devices.list_sessions(user)) == 1
    assert (bool(whoami(browser)), whoami(idle)) == (True, "")


def test_what_is_over_is_ended_too_and_no_save_in_flight_prolongs_it(clock, user):
    key = sign_in(user).cookies["sessionid"].value
    in_flight = SessionStore(key)
    in_flight["a"] = 1
    clock.shift(timedelta(minutes=31))
    assert devices.revoke_all(user) == 0
    with pytest.raises(UpdateError):
        in_flight.save()
    assert SessionStore(key).load() == {}


def test_the_cookies_age_ends_it_too(clock, user, settings):
    settings.SESSION_COOKIE_AGE = 600
    browser = sign_in(user)
    clock.shift(timedelta(minutes=9))
    assert whoami(browser)
    clock.shift(timedelta(minutes=2))
    assert not whoami(browser)


def test_a_shorter_set_expiry_wins_and_a_longer_one_does_not(clock, user):
    browser, other = sign_in(user), sign_in(user)
    for client, seconds in ((browser, 60), (other, 86400)):
        session = client.session
        session.set_expiry(seconds)
        session.save()
    clock.shift(timedelta(seconds=61))
    assert (whoami(browser), bool(whoami(other))) == ("", True)
    clock.shift(timedelta(minutes=31))
    assert not whoami(other)


def test_a_remembered_browser_stays_for_its_age_and_keeps_its_cookie(clock, user):
    browser = sign_in(user, remember_me="on")
    assert browser.cookies["sessionid"]["max-age"] == 30 * 86400
    for _ in range(2):
        clock.shift(timedelta(days=14))
        assert whoami(browser)
    clock.shift(timedelta(days=2, seconds=1))
    assert not whoami(browser)


def test_one_that_was_not_asked_to_be_remembered_is_not(clock, user, settings):
    browser = sign_in(user, remember_me="on")
    browser.post(
        "/login/", {"username": user.get_username(), "password": "correct horse"}
    )
    assert browser.cookies["sessionid"]["max-age"] == settings.SESSION_COOKIE_AGE
    clock.shift(timedelta(minutes=31))
    assert not whoami(browser)


def test_false_in_the_field_is_a_no(user, settings):
    browser = sign_in(user, remember_me="false")
    assert browser.cookies["sessionid"]["max-age"] == settings.SESSION_COOKIE_AGE


def test_remember_before_login_counts(clock, user):
    browser = sign_in(user)
    browser.post("/remember/")
    clock.shift(timedelta(days=20))
    assert whoami(browser)


def test_remember_before_login_counts_where_another_user_was_signed_in(clock, user):
    browser = sign_in(make_user("bob@example.org", PASSWORD))
    browser.post("/remember/", {"pk": user.pk})
    clock.shift(timedelta(days=20))
    assert whoami(browser) == str(user.pk)


def test_visitors_have_no_idle_timeout(clock, db, client):
    client.get("/put/?cart=full")
    clock.shift(timedelta(days=13))
    assert client.get("/kept/?name=cart").content == b"full"
    clock.shift(timedelta(days=2))
    assert client.get("/kept/?name=cart").content == b""


def test_the_row_says_when_it_will_be_over(clock, user):
    browser = sign_in(user)
    row = UserSession.objects.get()
    assert row.expires_at == START + timedelta(minutes=30)
    clock.shift(timedelta(minutes=1))
    whoami(browser)
    row.refresh_from_db()
    assert row.expires_at == START + timedelta(minutes=31)
    assert row.created_at == START
    assert row.status == "active"


def test_a_touch_interval_of_nothing_writes_each_time(clock, user, settings):
    settings.CROSSAUTH_SESSION_TOUCH_INTERVAL = timedelta()
    browser = sign_in(user)
    clock.shift(timedelta(seconds=1))
    whoami(browser)
    assert UserSession.objects.get().last_active_at == START + timedelta(seconds=1)


def test_a_browser_is_not_the_storages_to_shorten(clock, user):
    browser = sign_in(user)
    row = UserSession.objects.get()
    until = START + timedelta(minutes=2)
    storage = SessionStorage()
    assert storage.refresh(row.pk, updated_at=START, expires_at=until) is None
    clock.shift(timedelta(minutes=3))
    assert whoami(browser) == str(user.pk)
