"""Redis stops, and comes back with what it had."""

from __future__ import annotations

import logging
import signal
import time
from datetime import timedelta

import pytest
from django.core.cache import caches
from django.test import Client

from crossauth_django import crypto, devices
from crossauth_django.fields import utc_now
from crossauth_django.managers.buckets import bucket_of
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.copy_format import NO_MARK
from crossauth_django.models import SessionsEnd, UserSession
from crossauth_django.sessions import SessionStore
from crossauth_django.stores import get_store
from tests import services
from tests.accounts.conftest import make_user
from tests.concurrency import run_together
from tests.sessions.conftest import PASSWORD, sign_in, whoami


class Server:
    """A Redis of its own that keeps its data on disk."""

    def __init__(self):
        self.service = services.start("redis")
        self.client = self._client()
        self.client.config_set("appendonly", "yes")
        self.client.config_set("appendfsync", "always")
        self.service.wait_until(self._writes_at_once)

    def _writes_at_once(self):
        state = self.client.info("persistence")
        return not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])

    def _client(self):
        import redis

        return redis.Redis(port=self.service.port)

    def kill(self):
        self.service.process.kill()
        self.service.process.wait()

    def start_again(self):
        self.service.spawn(
            *(
                services.program("redis-server", "valkey-server"),
                "--port",
                str(self.service.port),
            ),
            *(
                "--bind",
                "127.0.0.1",
                "--appendonly",
                "yes",
                "--dir",
                str(self.service.folder),
            ),
        )
        self.service.wait_until(self._is_ready)

    def _is_ready(self):
        import redis

        try:
            return self.client.ping()
        except redis.RedisError:
            return False

    def stop(self):
        self.client.close()
        self.service.stop()


@pytest.fixture
def server(settings):
    server = Server()
    settings.CACHES = {
        **settings.CACHES,
        "own": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": server.service.url,
            "OPTIONS": {"SOCKET_TIMEOUT": 0.3, "SOCKET_CONNECT_TIMEOUT": 0.3},
        },
    }
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    yield server
    get_store("own").close()
    caches["own"].close()
    server.stop()


@pytest.fixture
def user(transactional_db):
    return make_user("ann@example.org", PASSWORD)


def test_after_flushall_everybody_is_still_signed_in(server, user):
    browser = sign_in(user)
    server.client.flushall()
    assert whoami(browser) == str(user.pk)
    # The copy is back.
    digest = SessionStore(browser.cookies["sessionid"].value).digest
    assert get_copies().store.get(f"session:{digest}", slot=bucket_of(user.pk))


def test_with_redis_stopped_requests_work_from_the_table(server, user, caplog):
    browser = sign_in(user)
    whoami(browser)
    server.kill()
    with caplog.at_level(logging.WARNING, "crossauth_django.sessions"):
        for _ in range(5):
            answer = browser.get("/whoami/")
            assert answer.content.decode() == str(user.pk)
            assert not answer.cookies
        browser.get("/put/?a=1")
        assert browser.get("/kept/?name=a").content == b"1"
        assert SessionStore().exists(browser.cookies["sessionid"].value)
        assert not SessionStore().exists("a" * 43)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert browser.cookies["sessionid"].value not in caplog.text


def test_an_outage_that_lasts_is_logged_again_after_a_minute(
    server, user, caplog, monkeypatch
):
    browser, monotonic = sign_in(user), time.monotonic
    server.kill()
    for later in (0, 59, 61):
        monkeypatch.setattr(time, "monotonic", lambda later=later: monotonic() + later)
        whoami(browser)
        whoami(browser)
    assert len(caplog.records) == 2


def test_with_redis_stopped_a_visitor_signs_in_and_keeps_the_cookie(server, user):
    visitor = Client()
    visitor.get("/put/?cart=full")
    key = visitor.cookies["sessionid"].value
    server.kill()
    answer = visitor.get("/whoami/")
    assert (answer.status_code, len(answer.cookies)) == (200, 0)
    assert visitor.cookies["sessionid"].value == key
    assert whoami(sign_in(user)) == str(user.pk)


def test_with_redis_stopped_a_visitor_who_writes_gets_a_session_in_the_table(
    server, user
):
    visitor = Client()
    visitor.get("/put/?cart=full")
    key = visitor.cookies["sessionid"].value
    server.kill()
    visitor.get("/put/?cart=new")
    assert visitor.cookies["sessionid"].value != key
    assert visitor.get("/kept/?name=cart").content == b"new"
    assert UserSession.objects.get().user_id is None


def test_what_was_revoked_meanwhile_stays_dead_when_redis_returns(server, user):
    browsers = [sign_in(user) for _ in range(3)]
    assert {whoami(browser) for browser in browsers} == {str(user.pk)}
    keys = [browser.cookies["sessionid"].value for browser in browsers]
    server.kill()
    revoke_all_but(user, browsers[0])
    assert [whoami(browser) for browser in browsers] == [str(user.pk), "", ""]
    server.start_again()
    # It came back with the copies that it had.
    assert server.client.dbsize() >= 3
    for browser, key in zip(browsers, keys, strict=True):
        browser.cookies["sessionid"] = key
    wait_out_silence()
    assert [whoami(browser) for browser in browsers] == [str(user.pk), "", ""]


def end_by_row(user):
    UserSession.objects.update(revoked_at="2026-01-01T00:00Z", changed_at=utc_now())


def end_with_all(user):
    # The row itself has not changed for long.
    UserSession.objects.update(changed_at=utc_now() - timedelta(hours=1))
    SessionsEnd.objects.create(user=user, reason="logout_all")


@pytest.mark.parametrize("end", [end_by_row, end_with_all])
def test_a_process_that_missed_the_outage_believes_no_copy_either(server, user, end):
    """It has not asked Redis while it was away: only its connection is another one."""
    browser = sign_in(user)
    whoami(browser)
    server.kill()
    # Another process revokes, and cannot say so to Redis.
    end(user)
    server.start_again()
    assert server.client.dbsize() >= 1
    assert whoami(browser) == ""


def test_what_was_written_meanwhile_counts_when_redis_returns(server, user):
    browser = sign_in(user)
    browser.get("/put/?a=old")
    browser.get("/kept/?name=a")
    server.kill()
    browser.get("/put/?a=new")
    server.start_again()
    wait_out_silence()
    assert browser.get("/kept/?name=a").content == b"new"


def test_an_old_key_stays_dead_when_redis_returns(server, user):
    browser = sign_in(user)
    whoami(browser)
    old = browser.cookies["sessionid"].value
    server.kill()
    browser.post("/login/", {"username": user.get_username(), "password": PASSWORD})
    assert browser.cookies["sessionid"].value != old
    server.start_again()
    wait_out_silence()
    assert whoami(browser) == str(user.pk)
    browser.cookies["sessionid"] = old
    assert whoami(browser) == ""


def test_a_deleted_users_sessions_are_forgotten_when_redis_returns(server, user):
    browser = sign_in(user)
    browser.get("/put/?a=1")
    browser.get("/kept/?name=a")
    server.kill()
    user.delete()
    server.start_again()
    wait_out_silence()
    assert browser.get("/kept/?name=a").content == b""


def test_a_redis_that_hangs_costs_one_timeout_a_second(server, user):
    browser = sign_in(user)
    whoami(browser)
    server.service.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(10):
            assert whoami(browser) == str(user.pk)
        assert time.monotonic() - began < 3
        revoke_all_but(user, None)
    finally:
        server.service.process.send_signal(signal.SIGCONT)
    wait_out_silence()
    assert whoami(browser) == ""


def revoke_all_but(user, browser):
    for device in devices.list_sessions(user):
        key = None if browser is None else browser.cookies["sessionid"].value
        row = UserSession.objects.get(pk=device.handle)
        if key is None or row.token_hash != crypto.digest(key):
            assert devices.revoke(user, device.handle)


def wait_out_silence():
    """The server is asked again a second after it was given up."""
    time.sleep(1.05)


def test_a_server_that_goes_between_two_steps_costs_the_copy_and_nothing_else(
    server, user
):
    session = SessionStore(sign_in(user).cookies["sessionid"].value)
    assert session["_auth_user_id"]
    server.kill()
    # The read was answered; what follows is not.
    assert get_copies().lease("any") == NO_MARK
    session["a"] = 1
    session.save()
    assert SessionStore(session.session_key)["a"] == 1


def test_an_answer_that_is_lost_leaves_no_copy(server, user):
    browser = sign_in(user)
    whoami(browser)
    # Longer than the timeout of one command, shorter than that of two.
    server.client.client_pause(400)
    devices.revoke_all(user)
    store, slot = get_copies().store, bucket_of(user.pk)
    assert store.get("session-stamp", slot=slot) is None
    assert whoami(browser) == ""


def test_a_thread_believes_no_copy_that_it_read_before_another_one_settled(
    server, user, monkeypatch
):
    browser = sign_in(user)
    whoami(browser)
    key = browser.cookies["sessionid"].value
    server.kill()
    # Another process revokes, and cannot say so to Redis.
    UserSession.objects.update(revoked_at=utc_now(), changed_at=utc_now())
    server.start_again()
    store = get_copies().store
    get = store.get_many

    def get_and_wait(names, *, slot):
        value = get(names, slot=slot)
        monkeypatch.undo()
        run_together(1, lambda: SessionStore("a" * 43).load())
        return value

    monkeypatch.setattr(store, "get_many", get_and_wait)
    assert SessionStore(key).load() == {}
