"""What a request costs, exactly."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.test import Client

from crossauth_django import devices
from crossauth_django.models import UserSession
from tests.sessions.conftest import sign_in, whoami
from tests.trips import round_trips


def test_a_signed_in_request_is_one_command_and_the_users_query(
    browser, user, django_assert_num_queries
):
    whoami(browser)
    with round_trips() as sent, django_assert_num_queries(1):
        assert whoami(browser) == str(user.pk)
    assert sent == ["mget"]


def test_a_visitor_who_touches_no_session_costs_nothing(db, django_assert_num_queries):
    with round_trips() as sent, django_assert_num_queries(0):
        Client().get("/untouched/")
    assert sent == []


def test_nor_does_one_with_a_cookie(db, settings, django_assert_num_queries):
    # With CSRF_USE_SESSIONS, Django's CSRF middleware looks into every session that there is.
    settings.CSRF_USE_SESSIONS = False
    with round_trips() as sent, django_assert_num_queries(0):
        sign_in_and_forget().get("/untouched/")
    assert sent == []


def sign_in_and_forget():
    """A browser with a cookie that nobody knows."""
    client = Client()
    client.cookies["sessionid"] = "a" * 43
    return client


def test_a_visitor_without_a_cookie_costs_nothing_when_asked_who_he_is(
    db, django_assert_num_queries
):
    with round_trips() as sent, django_assert_num_queries(0):
        assert whoami(Client()) == ""
    assert sent == []


def test_an_unknown_cookie_causes_no_write(db, django_assert_num_queries):
    client = sign_in_and_forget()
    # The first to reach the cache asks what has changed before it was there.
    whoami(sign_in_and_forget())
    with round_trips() as sent, django_assert_num_queries(1) as queries:
        assert whoami(client) == ""
    assert sent == ["mget"]
    assert queries[0]["sql"].startswith("SELECT")


def test_within_the_touch_interval_nothing_is_written(
    browser, django_assert_num_queries
):
    whoami(browser)
    active = UserSession.objects.get().last_active_at
    with time_machine.travel(active + timedelta(seconds=59), tick=False):
        with round_trips() as sent, django_assert_num_queries(1):
            whoami(browser)
        assert sent == ["mget"]
    assert UserSession.objects.get().last_active_at == active


def test_after_it_the_activity_is_one_statement(browser, django_assert_num_queries):
    whoami(browser)
    active = UserSession.objects.get().last_active_at
    with time_machine.travel(active + timedelta(seconds=61), tick=False):
        with django_assert_num_queries(2) as queries:
            whoami(browser)
        assert [query["sql"].split()[0] for query in queries] == ["UPDATE", "SELECT"]
        with round_trips() as sent, django_assert_num_queries(1):
            whoami(browser)
        assert sent == ["mget"]
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
    with round_trips() as sent, django_assert_num_queries(1 if returning else 2):
        assert devices.revoke_all(user) == 2
    assert sent == ["del"]


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
    with round_trips() as sent, django_assert_num_queries(1):
        assert whoami(browser) == ""
    assert sent == ["mget"]


def test_a_save_is_one_statement_and_one_step(browser, django_assert_num_queries):
    whoami(browser)
    with round_trips() as sent, django_assert_num_queries(1) as queries:
        browser.get("/put/?a=1")
    assert queries[0]["sql"].startswith("UPDATE")
    assert sent == ["mget", "evalsha"]
