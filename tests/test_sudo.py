from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import AsyncClient, Client, override_settings

from crossauth_django import devices, sudo
from crossauth_django.exceptions import LockedOutError
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.accounts.conftest import make_user
from tests.concurrency import run_together
from tests.routers import Everything
from tests.sessions import conftest
from tests.sessions.conftest import PASSWORD, run, sign_in, whoami

site, user, browser = conftest.site, conftest.user, conftest.browser


def try_password(client, password):
    return client.post("/elevate/", {"password": password}).content.decode()


def may(client, path="/secret/"):
    return client.get(path).status_code


def test_the_right_password_elevates_for_the_window(browser):
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        browser = sign_in(get_user_model().objects.get())
        assert may(browser) == 403
        assert try_password(browser, PASSWORD) == "True"
        clock.shift(timedelta(minutes=4, seconds=59))
        assert may(browser) == 200
        clock.shift(timedelta(seconds=1))
        assert may(browser) == 403


def test_elevation_rotates_the_key(browser):
    old = browser.cookies["sessionid"].value
    try_password(browser, PASSWORD)
    assert browser.cookies["sessionid"].value != old
    browser.cookies["sessionid"] = old
    assert whoami(browser) == ""


def test_a_wrong_password_does_not_elevate(browser):
    assert try_password(browser, "wrong") == "False"
    assert may(browser) == 403


def test_elevation_ends_with_the_session_and_is_nobody_elses(user, browser):
    other = sign_in(user)
    try_password(browser, PASSWORD)
    assert (may(browser), may(other)) == (200, 403)
    browser.post("/logout/")
    assert may(browser) == 302


def test_elevation_can_be_dropped(browser):
    try_password(browser, PASSWORD)
    browser.post("/drop/")
    assert may(browser) == 403


def test_after_three_wrong_passwords_the_session_is_locked_and_the_owner_is_not(user):
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        thief, owner = sign_in(user), sign_in(user)
        assert [try_password(thief, "wrong") for _ in range(3)] == ["False"] * 3
        assert try_password(thief, PASSWORD) == "locked for 900 s"
        assert try_password(owner, PASSWORD) == "True"
        clock.shift(timedelta(minutes=14, seconds=59))
        assert try_password(thief, PASSWORD) == "locked for 1 s"
        clock.shift(timedelta(seconds=1))
        assert try_password(thief, PASSWORD) == "True"


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_last_wrong_password_takes_the_elevation_away(browser, settings, attempts):
    settings.CROSSAUTH_SUDO_ATTEMPTS = attempts
    try_password(browser, PASSWORD)
    for _ in range(attempts - 1):
        try_password(browser, "wrong")
    assert may(browser) == 200
    try_password(browser, "wrong")
    assert may(browser) == 403


def test_a_save_in_flight_does_not_bring_the_elevation_back(browser):
    try_password(browser, PASSWORD)
    in_flight = SessionStore(browser.cookies["sessionid"].value)
    in_flight["a"] = 1
    for _ in range(3):
        try_password(browser, "wrong")
    in_flight.save()
    assert may(browser) == 403


def test_another_sign_in_begins_without_elevation(user, browser):
    try_password(browser, PASSWORD)
    browser.post("/login/", {"username": user.get_username(), "password": PASSWORD})
    assert may(browser) == 403


def test_wrong_passwords_are_forgotten_after_the_window_and_by_the_right_one(user):
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        browser = sign_in(user)
        try_password(browser, "wrong"), try_password(browser, "wrong")
        clock.shift(timedelta(minutes=5))
        assert [try_password(browser, "wrong") for _ in range(2)] == ["False"] * 2
        assert try_password(browser, PASSWORD) == "True"
        assert [try_password(browser, "wrong") for _ in range(3)] == ["False"] * 3


def guess(key):
    with override_settings(
        SESSION_ENGINE="crossauth_django.sessions", CROSSAUTH_CACHE_ALIAS="redis"
    ):
        return run_together(2, lambda: sudo._reserve(SessionStore(key)))


def test_a_burst_tries_three_passwords(crew, transactional_db):
    browser = sign_in(make_user("ann@example.org", PASSWORD))
    key = browser.cookies["sessionid"].value
    for _ in range(3):
        UserSession.objects.update(sudo_failures=0, sudo_tried_at=None)
        allowed = crew.run(guess, key)
        assert sum(pair.count(True) for pair in allowed) == 3


# The view's transaction.


@pytest.fixture(params=["postgres", "mariadb"])
def atomic(request, settings):
    """A browser of a site on this database, where each request is a transaction."""
    if request.param not in settings.DATABASES and "CI" not in os.environ:
        pytest.skip(f"nothing runs behind {request.param}")
    settings.DATABASE_ROUTERS = [Everything(request.param)]
    browser = sign_in(make_user("ann@example.org", PASSWORD))
    whoami(browser)
    configured = connections[request.param].settings_dict
    configured["ATOMIC_REQUESTS"] = True
    yield browser
    configured["ATOMIC_REQUESTS"] = False


on_servers = pytest.mark.django_db(transaction=True, databases="__all__")


def confirm(client, password, **fields):
    return client.post("/confirm/", {"password": password, **fields}).status_code


@on_servers
def test_a_wrong_password_stays_counted_when_the_view_rolls_back(atomic):
    statuses = [confirm(atomic, "wrong") for _ in range(5)]
    assert statuses == [403, 403, 403, 429, 429]
    assert confirm(atomic, PASSWORD) == 429


@on_servers
def test_the_right_one_elevates_with_the_views_transaction(atomic):
    assert confirm(atomic, PASSWORD) == 200
    assert may(atomic) == 200
    assert [confirm(atomic, "wrong") for _ in range(4)] == [403, 403, 403, 429]


@on_servers
def test_a_burst_of_views_that_roll_back_tries_three_passwords(atomic):
    key = atomic.cookies["sessionid"].value
    using = UserSession.objects.primary().db

    def guess_in_vain():
        with transaction.atomic(using=using):
            transaction.set_rollback(True, using=using)
            return sudo._reserve(SessionStore(key))

    assert Counter(run_together(8, guess_in_vain)) == {True: 3, False: 5}


@on_servers
def test_what_the_view_holds_itself_is_not_waited_for(atomic):
    with pytest.raises(TransactionManagementError, match="elevate"):
        confirm(atomic, PASSWORD, save="1")


def test_who_is_not_signed_in_is_sent_to_sign_in(client, db):
    answer = client.get("/secret/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/secret/")
    assert try_password(client, PASSWORD) == "False"


@pytest.mark.parametrize("path", ["/secret/there/", "/secret/class/"])
def test_with_a_url_the_page_there_asks(browser, path):
    answer = browser.get(path)
    assert answer["Location"] == f"/elevate/?next={path}"
    try_password(browser, PASSWORD)
    assert may(browser, path) == 200


def test_a_class_without_a_url_refuses(browser):
    assert may(browser, "/secret/class/plain/") == 403


@pytest.mark.parametrize("place", ["cache", "table"])
def test_a_token_elevates_no_visitors_session(user, settings, place):
    # Or who has stolen it would have three guesses at the password in each new session.
    settings.CROSSAUTH_ANONYMOUS_SESSIONS = place
    token = devices.issue_token(user, client_name="phone", max_age=timedelta(hours=1))
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    client.get("/put/?cart=full")
    assert try_password(client, PASSWORD) == "False"
    assert may(client) == 403


def test_another_users_elevated_session_elevates_no_token(browser, user):
    bob = make_user("bob@example.org", PASSWORD)
    token = devices.issue_token(bob, client_name="phone", max_age=timedelta(hours=1))
    try_password(browser, PASSWORD)
    # The cookie signs nobody in any more, and so the token does.
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    browser.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    assert whoami(browser) == str(bob.pk)
    assert may(browser) == 403


def test_a_renewed_hash_keeps_the_session(user, settings):
    # What was hashed by the first before is hashed by the second at the next check.
    users = get_user_model().objects.filter(pk=user.pk)
    users.update(password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    browser = sign_in(user)
    users.update(password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    browser = sign_in(get_user_model().objects.get())
    assert try_password(browser, PASSWORD) == "True"
    assert may(browser) == 200


def test_other_engines_are_refused(user, rf, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    browser = sign_in(user)
    assert may(browser) == 403
    browser.post("/drop/")
    with pytest.raises(ImproperlyConfigured, match="SESSION_ENGINE"):
        try_password(browser, PASSWORD)


@pytest.mark.parametrize("path", ["/asecret/", "/asecret/class/"])
def test_on_the_async_side(transactional_db, path):
    ann = make_user("ann@example.org", PASSWORD)

    async def use():
        client = AsyncClient()
        await sync_to_async(client.force_login)(ann)
        return [
            (await client.get(path)).status_code,
            (await client.post("/aelevate/", {"password": PASSWORD})).content,
            (await client.get(path)).status_code,
            (await AsyncClient().get(path)).status_code,
            (await client.post("/adrop/")).content,
        ]

    assert run(use()) == [403, b"True", 200, 302, b"False"]


def test_a_view_that_leaves_it_to_the_middleware_is_answered(browser, site):
    site.MIDDLEWARE = [
        *site.MIDDLEWARE,
        "crossauth_django.middleware.LockoutMiddleware",
    ]
    browser = sign_in(get_user_model().objects.get())
    for _ in range(3):
        assert browser.post("/confirm/", {"password": "wrong"}).status_code == 403
    answer = browser.post("/confirm/", {"password": PASSWORD, "raise": "1"})
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    # Whoever reads it is signed in.
    assert "Too many wrong passwords" in answer.content.decode()


def test_locked_is_an_error_with_its_time(browser, rf):
    request = rf.post("/")
    request.session = SessionStore(browser.cookies["sessionid"].value)
    request.user = get_user_model().objects.get()
    UserSession.objects.update(sudo_failures=3, sudo_tried_at=None)
    # Counted by an older version without a time: the window begins now.
    assert not sudo.elevate(request, "wrong")
    sudo.elevate(request, "wrong"), sudo.elevate(request, "wrong")
    with pytest.raises(LockedOutError) as caught:
        sudo.elevate(request, PASSWORD)
    assert 899 <= caught.value.retry_after <= 900
