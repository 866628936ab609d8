"""What a request costs, exactly."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta

import pytest
import redis
import time_machine
from django.test import Client

from crossauth_django import devices
from crossauth_django.models import UserSession
from tests.sessions.conftest import sign_in, whoami

QUIET = {"info", "ping", "client|setinfo", "hello", "select"}


@contextlib.contextmanager
def commands():
    """Collect what is sent to Redis meanwhile, by command."""
    server = redis.Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"])
    sent = {}
    before = calls(server)
    try:
        yield sent
    finally:
        after = calls(server)
        server.close()
        sent.update(
            {
                name: count - before.get(name, 0)
                for name, count in after.items()
                if count > before.get(name, 0)
            }
        )


def calls(server):
    stats = server.info("commandstats")
    names = {
        name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()
    }
    return {name: count for name, count in names.items() if name not in QUIET}


def test_a_signed_in_request_is_one_command_and_the_users_query(
    browser, user, django_assert_num_queries
):
    whoami(browser)
    with commands() as sent, django_assert_num_queries(1):
        assert whoami(browser) == str(user.pk)
    assert sent == {"get": 1}


def test_a_visitor_who_touches_no_session_costs_nothing(db, django_assert_num_queries):
    with commands() as sent, django_assert_num_queries(0):
        Client().get("/untouched/")
    assert sent == {}


def test_nor_does_one_with_a_cookie(db, settings, django_assert_num_queries):
    # With CSRF_USE_SESSIONS, Django's CSRF middleware looks into every session that there is.
    settings.CSRF_USE_SESSIONS = False
    with commands() as sent, django_assert_num_queries(0):
        sign_in_and_forget().get("/untouched/")
    assert sent == {}


def sign_in_and_forget():
    """A browser with a cookie that nobody knows."""
    client = Client()
    client.cookies["sessionid"] = "a" * 43
    return client


def test_a_visitor_without_a_cookie_costs_nothing_when_asked_who_he_is(
    db, django_assert_num_queries
):
    with commands() as sent, django_assert_num_queries(0):
        assert whoami(Client()) == ""
    assert sent == {}


def test_an_unknown_cookie_causes_no_write(db, django_assert_num_queries):
    client = sign_in_and_forget()
    whoami(Client())
    with commands() as sent, django_assert_num_queries(1) as queries:
        assert whoami(client) == ""
    assert sent == {"get": 1}
    assert queries[0]["sql"].startswith("SELECT")


def test_within_the_touch_interval_nothing_is_written(
    browser, django_assert_num_queries
):
    whoami(browser)
    active = UserSession.objects.get().last_active_at
    with time_machine.travel(active + timedelta(seconds=59), tick=False):
        with commands() as sent, django_assert_num_queries(1):
            whoami(browser)
        assert sent == {"get": 1}
    assert UserSession.objects.get().last_active_at == active


def test_after_it_the_activity_is_one_statement(browser, django_assert_num_queries):
    whoami(browser)
    active = UserSession.objects.get().last_active_at
    with time_machine.travel(active + timedelta(seconds=61), tick=False):
        with django_assert_num_queries(2) as queries:
            whoami(browser)
        assert [query["sql"].split()[0] for query in queries] == ["UPDATE", "SELECT"]
        with commands() as sent, django_assert_num_queries(1):
            whoami(browser)
        assert sent == {"get": 1}
    assert UserSession.objects.get().last_active_at == active + timedelta(seconds=61)


def test_listing_is_one_query(browser, user, django_assert_num_queries):
    for _ in range(3):
        sign_in(user)
    with django_assert_num_queries(1):
        assert len(devices.list_sessions(user)) == 4


def test_revoking_all_is_one_statement_and_one_command(
    browser, user, django_assert_num_queries, returning
):
    sign_in(user)
    whoami(browser)
    with commands() as sent, django_assert_num_queries(1 if returning else 2):
        assert devices.revoke_all(user) == 2
    assert sent == {"del": 1}


@pytest.fixture
def returning():
    """Whether the database can say which rows an UPDATE has changed."""
    from django.db import connection

    return connection.vendor != "mysql"


def test_a_revoked_browser_costs_one_read_of_each(
    browser, user, django_assert_num_queries
):
    whoami(browser)
    devices.revoke_all(user)
    with commands() as sent, django_assert_num_queries(1):
        assert whoami(browser) == ""
    assert sent == {"get": 1}


def test_a_save_is_one_statement_and_one_step(browser, django_assert_num_queries):
    whoami(browser)
    with commands() as sent, django_assert_num_queries(1) as queries:
        browser.get("/put/?a=1")
    assert queries[0]["sql"].startswith("UPDATE")
    assert sent.pop("evalsha") == 1
    assert {name: count for name, count in sent.items() if name != "time"} == {
        "get": 2,
        "set": 1,
    }
