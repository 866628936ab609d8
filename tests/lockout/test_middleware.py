"""The doors of Django's own, and what they answer to who is locked out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import aauthenticate, authenticate, get_user_model
from django.core.exceptions import PermissionDenied
from django.test import AsyncClient, Client, RequestFactory
from django.test.client import AsyncRequestFactory

from crossauth_django import lockout
from crossauth_django.backends import LockoutBackend
from crossauth_django.lockout.index import SEAL
from crossauth_django.stores import get_store
from tests.lockout.hashers import looked_at
from tests.lockout.urls import BEFORE_THE_END
from tests.services import start
from tests.trips import round_trips

ADDRESS = "127.0.0.1"
WRONG = f"wrong-{os.getpid()}-"


def by_form(client: Client, password: str, name: str = "alice", **extra: Any) -> Any:
    return client.post("/login/", {"username": name, "password": password}, **extra)


def by_admin(client: Client, password: str) -> Any:
    data = {"username": "alice", "password": password, "next": "/admin/"}
    return client.post("/admin/login/", data)


def by_json(
    client: Client, password: str, path: str = "/json/", name: str = "alice"
) -> Any:
    body = {"username": name, "password": password}
    return client.post(path, body, content_type="application/json")


def by_check(client: Client, password: str) -> Any:
    return by_json(client, password, "/check/")


def by_async(client: Client, password: str) -> Any:
    return by_json(client, password, "/async/")


def by_async_check(client: Client, password: str) -> Any:
    return by_json(client, password, "/async-check/")


def by_asgi(client: Client, password: str, path: str = "/async/") -> Any:
    async def post() -> Any:
        body = json.dumps({"username": "alice", "password": password})
        return await AsyncClient().post(path, body, content_type="application/json")

    return asyncio.run(post())


DOORS = [by_form, by_admin, by_json, by_check, by_async, by_async_check]


@pytest.fixture
def wrong(request: pytest.FixtureRequest) -> str:
    return f"{WRONG}{request.node.name}-{time.monotonic_ns()}"


def standing(rule: str = "pair") -> int:
    found = lockout.explain("alice", ADDRESS).standings
    return next(each.count for each in found if each.rule == rule)


@pytest.mark.parametrize("door", DOORS)
def test_each_door_lets_5_guesses_through_and_no_sixth(
    door, alice, client, clock, wrong
):
    answers = [door(client, wrong).status_code for _ in range(7)]
    assert answers[5:] == [429, 429]
    assert 429 not in answers[:5]
    assert looked_at(wrong) == 5


@pytest.mark.parametrize("door", DOORS)
def test_the_right_password_is_refused_while_locked_and_accepted_after(
    door, alice, client, clock, wrong
):
    for _ in range(5):
        door(client, wrong)
    clock.shift(3)
    refused = door(client, "right")
    assert (refused.status_code, refused["Retry-After"]) == (429, "60")
    clock.shift(60)
    assert door(client, "right").status_code in (200, 302)


@pytest.mark.django_db(transaction=True)
def test_an_asgi_site_is_covered_too(settings, clock, wrong):
    settings.ROOT_URLCONF = "tests.lockout.urls"
    settings.PASSWORD_HASHERS = ["tests.lockout.hashers.CountingHasher"]
    get_user_model().objects.create_user("alice", password="right")
    assert by_asgi(Client(), "right").status_code == 200
    assert asyncio.run(AsyncClient().get("/login/")).status_code == 200
    answers = [by_asgi(Client(), wrong).status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert looked_at(wrong) == 5


def test_a_doors_guesses_count_at_every_other_door(alice, client, clock, wrong):
    for door in DOORS[:5]:
        door(client, wrong)
    assert by_async_check(client, wrong).status_code == 429


@pytest.mark.parametrize("spelling", ["{}", "0{}", "+{}", "0_{}", "\u0660{}"])
def test_a_number_is_one_name_however_it_is_typed(
    alice, client, clock, wrong, monkeypatch, spelling
):
    monkeypatch.setattr(type(alice), "USERNAME_FIELD", "id")
    for _ in range(5):
        by_json(client, wrong, name=str(alice.pk))
    assert by_json(client, wrong, name=spelling.format(alice.pk)).status_code == 429
    assert looked_at(wrong) == 5


def test_what_the_field_of_the_name_cannot_read_is_a_name_of_its_own(
    alice, client, clock, monkeypatch
):
    monkeypatch.setattr(type(alice), "USERNAME_FIELD", "id")
    client.raise_request_exception = False
    answers = [by_json(client, "right").status_code for _ in range(6)]
    assert answers == [500] * 5 + [429]


def test_a_right_password_without_sign_in_is_given_back(alice, client, clock):
    for _ in range(20):
        assert by_check(client, "right").status_code == 200
        assert by_async_check(client, "right").status_code == 200
    assert standing() == standing("address") == 0


def test_what_failed_before_stays_counted_after_such_a_request(
    alice, client, clock, wrong
):
    by_check(client, wrong)
    by_check(client, "right")
    assert standing() == 1


def test_a_sign_in_forgets_the_failures_before_it(alice, client, clock, wrong):
    for _ in range(4):
        by_form(client, wrong)
    by_form(client, "right")
    assert standing() == standing("user") == standing("address") == 0


def test_a_crash_leaves_the_attempt_counted(alice, client, clock):
    client.raise_request_exception = False
    assert by_json(client, "right", "/crash/").status_code == 500
    assert standing() == 1


def test_so_does_an_answer_that_says_that_the_site_is_broken(alice, client, clock):
    assert by_json(client, "right", "/unavailable/").status_code == 503
    assert standing() == 1


def test_the_second_name_that_succeeds_is_the_answer(alice, client, clock, wrong):
    for _ in range(5):
        by_json(client, wrong, name="other")
    body = {"names": ["other", "alice"], "password": "right"}
    answer = client.post("/two-names/", body, content_type="application/json")
    assert answer.status_code == 200
    body["password"] = wrong
    answer = client.post("/two-names/", body, content_type="application/json")
    assert answer.status_code == 429


def test_a_request_without_a_password_costs_nothing(alice, client, on_redis):
    with round_trips() as sent:
        client.get("/login/")
    assert sent == []


def trips(work: Any) -> int:
    with round_trips() as sent:
        work()
    assert set(sent) == {"evalsha"}
    return len(sent)


@pytest.fixture
def measured(alice, client, on_redis, settings):
    """A sign-in whose round trips are the lockout's alone."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    alice.set_password("right")
    alice.save()
    by_form(client, "right")  # loads the scripts
    return settings


def test_round_trips_are_counted(measured, client, wrong):
    assert trips(lambda: by_form(Client(), wrong)) == 1
    assert trips(lambda: by_form(Client(), "right")) == 2
    assert trips(lambda: by_form(client, wrong)) == 1
    assert trips(lambda: by_form(client, "right")) == 2
    assert trips(lambda: by_check(Client(), "right")) == 2
    for _ in range(5):
        by_form(Client(), wrong)
    assert trips(lambda: by_form(Client(), wrong)) == 1
    time.sleep(3.05)
    assert trips(lambda: by_form(Client(), wrong)) == 1  # starts the lock
    assert trips(lambda: by_form(Client(), "right")) == 1
    assert lockout.explain("alice", ADDRESS).rule == "pair"


def test_only_who_starts_a_lock_pays_for_its_seal(measured, wrong):
    measured.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    get_store().step(SEAL, ["nothing"], ["nobody", 1, ""])  # loads its script
    for _ in range(5):
        assert trips(lambda: by_form(Client(), wrong)) == 1
    time.sleep(3.05)
    assert trips(lambda: by_form(Client(), wrong)) == 2
    assert trips(lambda: by_form(Client(), wrong)) == 1


def test_without_a_request_a_refusal_is_one_round_trip_and_a_failure_two(
    measured, wrong
):
    def attempt() -> None:
        assert authenticate(username="alice", password=wrong) is None

    assert [trips(attempt) for _ in range(20)] == [2] * 20
    assert trips(attempt) == 1

    async def attempts() -> None:
        assert await aauthenticate(username="alice", password=wrong) is None

    assert trips(lambda: asyncio.run(attempts())) == 1


def test_known_and_unknown_names_cost_the_same_queries_and_round_trips(
    measured, wrong, django_assert_num_queries
):
    for name in ("alice", "nobody"):
        with django_assert_num_queries(1):
            assert trips(lambda name=name: by_form(Client(), wrong, name)) == 1


def locked(client: Client, clock: Any, wrong: str, **extra: Any) -> Any:
    for _ in range(5):
        by_form(client, wrong)
    clock.shift(3)
    return by_form(client, wrong, **extra)


def test_people_get_a_page_with_the_time_that_remains(alice, client, clock, wrong):
    page = locked(client, clock, wrong)
    assert page.templates[0].name == "crossauth_django/locked_out.html"
    assert b"in 60 seconds" in page.content
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert "no-store" in page["Cache-Control"]
    clock.shift(60)
    page = locked(client, clock, wrong)
    assert b"in 2 minutes" in page.content


def test_the_log_of_a_lock_has_no_password_and_no_name(
    alice, client, clock, wrong, caplog
):
    with caplog.at_level(logging.DEBUG, "crossauth_django"):
        locked(client, clock, wrong)
    ours = [each for each in caplog.records if each.name.startswith("crossauth_django")]
    assert [each.event for each in ours] == ["lockout_triggered", "lockout_refused"]
    everything = str([vars(each) for each in ours])
    assert wrong not in everything
    assert "alice" not in everything
    assert ADDRESS not in everything


class AddsToContexts:
    """Middleware as sites have it: its process_template_response() is called after ours."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_template_response(self, request: Any, response: Any) -> Any:
        response.context_data["seen"] = response.template_name
        return response


def test_middleware_that_expects_a_template_finds_one(
    alice, client, clock, wrong, settings
):
    settings.MIDDLEWARE = [f"{__name__}.AddsToContexts", *settings.MIDDLEWARE]
    answers = [by_admin(client, wrong) for _ in range(6)]
    assert [each.status_code for each in answers] == [200] * 5 + [429]
    assert answers[5].context_data == {"seen": "crossauth_django/locked_out.html"}


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json"])
def test_programs_get_a_problem_document(alice, client, clock, wrong, accept):
    answer = locked(client, clock, wrong, HTTP_ACCEPT=accept)
    assert answer["Content-Type"] == "application/problem+json; charset=utf-8"
    assert answer.json() == {
        "type": "about:blank",
        "status": 429,
        "code": "locked_out",
        "title": "Too many sign-in attempts",
        "retry_after": 60,
    }


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [("text/html,*/*;q=0.8", False), ("*/*", True), ("", True), ("image/png", True)],
)
def test_a_json_body_is_answered_in_json_unless_html_is_asked_for(
    alice, client, clock, wrong, accept, is_json
):
    for _ in range(5):
        by_json(client, wrong)
    answer = client.post(
        "/json/",
        {"username": "alice", "password": wrong},
        content_type="application/json",
        HTTP_ACCEPT=accept,
    )
    assert ("problem+json" in answer["Content-Type"]) == is_json


@pytest.mark.parametrize("parameter", ["a*=nonsense''x", "a*=idna''%FF.."])
def test_an_accept_header_that_cannot_be_read_says_nothing(
    alice, client, clock, wrong, parameter
):
    page = locked(client, clock, wrong, HTTP_ACCEPT=f"application/json;{parameter}")
    assert page.status_code == 429
    assert page["Content-Type"] == "text/html; charset=utf-8"


def test_known_and_unknown_names_get_the_same_answer(alice, client, clock, wrong):
    answers = []
    for name in ("alice", "nobody"):
        for _ in range(5):
            by_form(client, wrong, name)
        answers.append(by_form(client, wrong, name))
    known, unknown = answers
    assert known.content == unknown.content
    assert dict(known.items()) == dict(unknown.items())


def test_known_and_unknown_names_take_the_same_time(alice, client, wrong):
    times: dict[str, list[float]] = {"alice": [], "nobody": []}
    for name in times:
        for _ in range(5):
            by_form(client, wrong, name)
    for _ in range(75):
        for name in ("alice", "nobody", "nobody", "alice"):
            begun = time.perf_counter()
            assert by_form(client, wrong, name).status_code == 429
            times[name].append(time.perf_counter() - begun)
    # The fastest of many: whatever else the machine does only adds to a time.
    assert 0.8 < min(times["alice"]) / min(times["nobody"]) < 1.25


def test_a_browser_that_signed_in_gets_its_device_cookie(alice, client, clock, wrong):
    by_form(client, "right")
    cookie = client.cookies["crossauth_device"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 365 * 24 * 3600
    stranger = Client()
    for _ in range(6):
        by_form(stranger, wrong)
    assert by_form(stranger, "right").status_code == 429
    assert by_form(client, "right").status_code == 302


def test_no_cookie_when_devices_are_off(alice, client, settings):
    settings.CROSSAUTH_DEVICE_COOKIE_AGE = timedelta()
    by_form(client, "right")
    assert "crossauth_device" not in client.cookies


def test_authenticate_with_a_request_counts_and_without_counts_the_user(
    alice, clock, wrong
):
    request = RequestFactory().get("/")
    for _ in range(5):
        authenticate(request, username="alice", password=wrong)
    assert authenticate(request, username="alice", password="right") is None
    assert authenticate(username="alice", password="right") == alice
    for _ in range(15):
        authenticate(username="alice", password=wrong)
    assert authenticate(username="alice", password="right") is None
    assert looked_at(wrong) == 20


def test_aauthenticate_does_too(alice, clock, wrong):
    async def tries() -> list[Any]:
        request = AsyncRequestFactory().get("/")
        with_request = {"request": request, "username": "nobody"}
        found = [await aauthenticate(**with_request, password=wrong) for _ in range(6)]
        without = [
            await aauthenticate(username="nobody", password=wrong) for _ in range(25)
        ]
        return found + without

    assert asyncio.run(tries()) == [None] * 31
    found = lockout.explain("nobody", ADDRESS)
    assert [each.count for each in found.standings] == [5, 20, 5]


def test_without_a_request_the_21st_guess_is_refused_on_a_loop_too(clock):
    for _ in range(20):
        lockout.count("alice")
    with pytest.raises(PermissionDenied):
        asyncio.run(
            LockoutBackend().aauthenticate(None, username="alice", password="x")
        )


def test_credentials_that_are_no_password_pass(db):
    assert authenticate(RequestFactory().get("/"), token="x") is None
    assert authenticate(token="x") is None
    assert asyncio.run(LockoutBackend().aauthenticate(None, token="x")) is None
    assert {each.count for each in lockout.explain("", ADDRESS).standings} == {0}


def test_a_wrapped_request_is_unwrapped(alice, clock, wrong):
    class Wrapper:
        _request = RequestFactory().get("/")

    authenticate(Wrapper(), username="alice", password=wrong)
    assert standing() == 1


@pytest.fixture
def server(settings):
    """A Redis of this test's own, to be stopped."""
    server = start("redis")
    settings.CACHES = {
        **settings.CACHES,
        "own": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": server.url,
            "OPTIONS": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1},
        },
    }
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


def test_with_the_store_down_sign_ins_are_refused_with_503(
    alice, client, server, caplog
):
    by_form(client, "right")
    server.stop(signal.SIGKILL)
    page = by_form(client, "right")
    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert b"not possible at the moment" in page.content
    assert by_async(client, "right").status_code == 503
    assert by_async(client, "right").json()["code"] == "store_unavailable"
    assert authenticate(username="alice", password="right") is None
    assert "refused" in caplog.text
    assert client.get("/login/").status_code != 503


def test_with_fail_open_they_are_allowed_and_logged(
    alice, client, server, settings, caplog
):
    settings.CROSSAUTH_LOCKOUT_FAIL_OPEN = True
    server.stop(signal.SIGKILL)
    assert by_form(client, "right").status_code == 302
    assert by_check(client, "right").status_code == 200
    assert authenticate(username="alice", password="wrong") is None
    assert "not counted" in caplog.text


def test_a_key_that_a_burst_keeps_busy_is_not_open_then(
    alice, client, settings, caplog
):
    settings.CROSSAUTH_LOCKOUT_FAIL_OPEN = True
    settings.CROSSAUTH_CACHE_ALIAS = "busy"
    backend = "django.core.cache.backends.locmem.LocMemCache"
    busy = {"BACKEND": backend, "KEY_FUNCTION": "tests.lockout.nested.busy_key"}
    settings.CACHES = {**settings.CACHES, "busy": busy}
    assert by_form(client, "right").status_code == 503
    assert "is refused" in caplog.text


def test_a_store_that_dies_in_between_disturbs_no_sign_in(
    alice, client, server, caplog
):
    from django.contrib.auth.signals import user_logged_in

    def die(**kwargs: Any) -> None:
        server.stop(signal.SIGKILL)

    # Before ours: receivers are called in the order in which they were connected.
    mine = user_logged_in.receivers[:]
    user_logged_in.receivers[:] = []
    user_logged_in.sender_receivers_cache.clear()
    user_logged_in.connect(die)
    user_logged_in.receivers += mine
    try:
        assert by_form(client, "right").status_code == 302
    finally:
        user_logged_in.receivers[:] = mine
        user_logged_in.sender_receivers_cache.clear()
    assert "stays counted" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_nor_an_api_of_an_asgi_site(alice, client, server, caplog):
    assert by_asgi(client, "right", "/async-check/").status_code == 200
    assert lockout.explain("alice", ADDRESS).standings[0].count == 0
    BEFORE_THE_END.append(lambda: server.stop(signal.SIGKILL))
    try:
        assert by_asgi(client, "right", "/async-check/").status_code == 200
    finally:
        BEFORE_THE_END.clear()
    assert "stays counted" in caplog.text


@pytest.mark.parametrize("door", [by_check, by_async_check])
def test_a_store_that_dies_before_the_end_fails_no_api(
    alice, client, server, caplog, door
):
    BEFORE_THE_END.append(lambda: server.stop(signal.SIGKILL))
    try:
        assert door(client, "right").status_code == 200
    finally:
        BEFORE_THE_END.clear()
    assert "stays counted" in caplog.text


def test_without_any_limit_everything_passes(alice, client, settings, wrong):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = 0
    settings.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS = 0
    assert {by_form(client, wrong).status_code for _ in range(60)} == {200}
    assert by_form(client, "right").status_code == 302


def test_a_hanging_store_is_given_up_and_then_refused_at_once(alice, client, server):
    by_form(client, "right")
    os.kill(server.process.pid, signal.SIGSTOP)
    times = []
    for _ in range(3):
        begun = time.monotonic()
        assert by_form(client, "right").status_code == 503
        times.append(time.monotonic() - begun)
    assert 0.9 < times[0] < 3
    assert max(times[1:]) < 0.5
    os.kill(server.process.pid, signal.SIGCONT)
    time.sleep(1.05)
    assert by_form(client, "right").status_code == 302
