from __future__ import annotations

import os
import re
import signal
from typing import Any

import django
import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.db import connection

from crossauth_django import lockout, unlocking
from crossauth_django.responses import Answer
from tests.services import start

ADDRESS = "127.0.0.1"


@pytest.fixture
def mailing(settings, alice):
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    settings.CROSSAUTH_BASE_URL = "https://example.org"
    return settings


def guesses(
    client: Any, clock: Any, name: str = "alice", door: str = "/login/"
) -> None:
    for _ in range(6):
        client.post(door, {"username": name, "password": "wrong"})
    clock.shift(3)
    for _ in range(3):
        client.post(door, {"username": name, "password": "wrong"})


def link() -> str:
    (found,) = re.findall(
        r"https://example.org(/\S+)", mail.outbox[-1].body.split("at once")[1]
    )
    return found


def test_the_owner_gets_one_mail_a_lock(mailing, client, clock):
    guesses(client, clock)
    (message,) = mail.outbox
    assert message.to == ["alice@example.org"]
    assert message.subject == "Signing in to your account was locked"
    assert "wrong" not in message.body.replace("wrong passwords", "")


def test_opening_the_link_spends_nothing_and_its_button_unlocks(mailing, client, clock):
    guesses(client, clock)
    for _ in range(2):
        page = client.get(link())
        assert b"<button" in page.content
        assert page["Cache-Control"] == "no-store"
        # With "no-referrer" a browser posts "Origin: null", and Django refuses that.
        assert page["Referrer-Policy"] == "same-origin"
        assert client.head(link()).status_code == 200
    assert not lockout.explain("alice", ADDRESS).is_allowed
    assert b"You can sign in again" in client.post(link()).content
    assert (
        client.post("/login/", {"username": "alice", "password": "right"}).status_code
        == 302
    )
    assert client.post(link()).status_code == 400
    assert client.get(link()).status_code == 400


def test_who_opened_the_link_is_on_a_known_device(mailing, client, clock):
    guesses(client, clock)
    client.post(link())
    assert lockout.device_of(client.cookies["crossauth_device"].value, "alice")


def test_it_is_known_there_for_the_address_that_was_typed_too(mailing, client, clock):
    guesses(client, clock, name="Alice@Example.org")
    client.post(link())
    cookie = client.cookies["crossauth_device"].value
    assert lockout.device_of(cookie, "Alice@Example.org")
    assert lockout.device_of(cookie, "alice")


def spray(client: Any, names: int) -> None:
    for number in range(names):
        client.post("/login/", {"username": f"name{number}", "password": "wrong"})


def test_the_address_is_locked_for_everybody_and_stays_so(mailing, client, clock):
    spray(client, 45)
    guesses(client, clock)
    assert len(mail.outbox) == 1
    client.post(link())
    assert lockout.explain("alice", ADDRESS).rule == "address"


def test_no_mail_when_only_the_guessers_address_is_locked(mailing, client, clock):
    spray(client, 50)
    guesses(client, clock)
    assert lockout.explain("alice", ADDRESS).rule == "address"
    assert mail.outbox == []


def test_an_address_is_as_good_as_a_name(mailing, client, clock):
    guesses(client, clock, name="ALICE@example.org")
    assert mail.outbox[0].to == ["alice@example.org"]


@pytest.mark.parametrize("spelling", ["ALICE", "\uff41lice", "al\u200bice"])
def test_another_spelling_does_not_keep_the_lock_from_the_owner(
    mailing, client, clock, spelling
):
    guesses(client, clock, name=spelling)
    assert [message.to for message in mail.outbox] == [["alice@example.org"]]


def test_nobody_else_gets_mail(mailing, client, clock):
    get_user_model().objects.create_user("no-address", password="x")
    get_user_model().objects.create_user("gone", email="g@example.org", is_active=False)
    for _ in range(2):
        get_user_model().objects.create_user(f"twin{_}", email="twin@example.org")
    names = ["nobody", "no-address", "gone", "twin@example.org", "nul\x00", ""]
    for name in names:
        guesses(client, clock, name=name)
    unlocking.mail_link("\ud800", ("p",), "https://example.org")
    assert mail.outbox == []


def test_an_owner_gets_few_mails_however_many_locks(mailing, client, clock):
    for number in range(8):
        unlocking.mail_link("alice", (f"p{number:040}",), "https://example.org")
    assert len(mail.outbox) == 5


def test_nothing_is_mailed_unless_asked_for(alice, client, clock):
    guesses(client, clock)
    assert mail.outbox == []


def test_the_mail_is_sent_after_the_answer(mailing, rf, clock):
    from crossauth_django.middleware import LockoutMiddleware
    from tests.lockout.urls import LoginWithoutPage

    middleware = LockoutMiddleware(LoginWithoutPage.as_view())

    def guess() -> Any:
        return middleware(
            rf.post("/login/", {"username": "alice", "password": "wrong"})
        )

    for _ in range(6):
        guess()
    clock.shift(3)
    answer = guess()
    assert mail.outbox == []
    answer.close()
    answer.close()
    assert len(mail.outbox) == 1


def test_whatever_happens_to_the_mail_the_answer_is_closed(db, caplog):
    def fail() -> None:
        raise RuntimeError("a template")

    answer, closed = Answer("wait"), []
    answer._resource_closers.append(lambda: closed.append(True))
    answer.after = fail
    answer.close()
    assert closed == [True]
    assert "a template" in caplog.text


def test_the_log_says_for_whom_a_mailed_link_was_spent(mailing, client, clock, caplog):
    guesses(client, clock)
    mailing.CROSSAUTH_LOG_NAMES = True
    caplog.clear()
    client.post(link())
    (record,) = [each for each in caplog.records if "lockout_cleared" in each.message]
    assert (record.username, record.rule, record.count) == ("alice", "pair", 1)


def test_without_a_base_url_the_request_tells_it(mailing, client, clock):
    mailing.CROSSAUTH_BASE_URL = None
    guesses(client, clock)
    assert "http://testserver/auth/unlock/" in mail.outbox[0].body


def test_a_mail_server_that_is_down_is_logged(mailing, client, clock, caplog):
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    if django.VERSION >= (6, 1):
        mailing.MAILERS = {
            "default": {"BACKEND": smtp, "OPTIONS": {"host": "127.0.0.1", "port": 1}}
        }
    else:
        mailing.EMAIL_BACKEND, mailing.EMAIL_PORT = smtp, 1
    guesses(client, clock)
    assert "No link to end a lock was mailed" in caplog.text


@pytest.fixture
def html_form(mailing, tmp_path):
    """Writes the mail's other form."""
    folder = tmp_path / "crossauth_django" / "email"
    folder.mkdir(parents=True)
    mailing.TEMPLATES = [{**mailing.TEMPLATES[0], "DIRS": [tmp_path]}]
    return (folder / "unlock.html").write_text


def test_a_html_form_is_attached_where_there_is_one(html_form, client, clock):
    html_form("<b>{{ url }}</b>")
    guesses(client, clock)
    ((body, kind),) = [(each[0], each[1]) for each in mail.outbox[0].alternatives]
    assert kind == "text/html"
    assert body.startswith("<b>https://example.org/auth/unlock/")


def test_a_form_that_includes_what_is_missing_is_a_mistake_to_hear_of(
    html_form, client, clock, caplog
):
    html_form("{% include 'gone.html' %}")
    guesses(client, clock)
    assert mail.outbox == []
    assert "gone.html" in caplog.text


def test_who_guesses_does_not_choose_the_language_of_the_mail(
    mailing, html_form, client, clock
):
    html_form("{% load i18n %}{% get_current_language as code %}{{ code }}")
    mailing.LANGUAGE_CODE = "de"
    mailing.MIDDLEWARE = [
        "django.middleware.locale.LocaleMiddleware",
        *mailing.MIDDLEWARE,
    ]
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    guesses(client, clock)
    assert mail.outbox[0].alternatives[0][0] == "de"


def test_a_store_that_hangs_in_between_leaves_the_link_good(mailing, client):
    server = start("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    mailing.CACHES = {
        **mailing.CACHES,
        "own": {**own, "OPTIONS": {"SOCKET_TIMEOUT": 0.2}},
    }
    mailing.CROSSAUTH_CACHE_ALIAS = "own"
    unlocking.mail_link("alice", (f"p{0:040}",), "https://example.org")

    def hang(execute: Any, *query: Any) -> Any:
        # Between what the cache holds of the link and the lock stands its user.
        os.kill(server.process.pid, signal.SIGSTOP)
        return execute(*query)

    try:
        with connection.execute_wrapper(hang):
            assert client.post(link()).status_code == 503
        os.kill(server.process.pid, signal.SIGCONT)
        assert client.post(link()).status_code == 200
        assert client.post(link()).status_code == 400
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        server.stop()


def test_with_the_store_down_the_page_says_so(mailing, client):
    server = start("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    mailing.CACHES = {**mailing.CACHES, "own": own}
    mailing.CROSSAUTH_CACHE_ALIAS = "own"
    server.stop(signal.SIGKILL)
    page = client.get(f"/auth/unlock/{'a' * 43}/")
    assert (page.status_code, page["Retry-After"]) == (503, "5")
