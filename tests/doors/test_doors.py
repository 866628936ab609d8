from __future__ import annotations

import base64
import time
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from crossauth_django import lockout
from crossauth_django.throttling import RateLimitThrottle
from tests.lockout.hashers import looked_at

pytestmark = pytest.mark.django_db


def basic(client: Client, password: str) -> Any:
    credentials = base64.b64encode(f"alice:{password}".encode()).decode()
    return client.get("/basic/", HTTP_AUTHORIZATION=f"Basic {credentials}")


def token(client: Client, password: str) -> Any:
    body = {"username": "alice", "password": password}
    return client.post("/token/", body, content_type="application/json")


def jwt(client: Client, password: str) -> Any:
    body = {"username": "alice", "password": password}
    return client.post("/jwt/", body, content_type="application/json")


def allauth(client: Client, password: str) -> Any:
    return client.post("/accounts/login/", {"login": "alice", "password": password})


def allauth_by_email(client: Client, password: str) -> Any:
    body = {"login": "alice@example.org", "password": password}
    return client.post("/accounts/login/", body)


DOORS = [basic, token, jwt, allauth, allauth_by_email]
NAMES = {allauth_by_email: "alice@example.org"}


@pytest.fixture
def alice() -> Any:
    return get_user_model().objects.create_user(
        "alice", email="alice@example.org", password="right"
    )


@pytest.mark.parametrize("door", DOORS)
def test_each_door_lets_5_guesses_through_and_no_sixth(door, alice, client):
    wrong = f"wrong-{time.monotonic_ns()}"
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        answers = [door(client, wrong).status_code for _ in range(7)]
        assert answers[5:] == [429, 429]
        assert 429 not in answers[:5]
        # allauth's backend looks again at what ModelBackend has refused.
        assert looked_at(wrong) in (5, 10)
        clock.shift(3)
        refused = door(client, "right")
        assert (refused.status_code, refused["Retry-After"]) == (429, "60")
        clock.shift(60)
        assert door(client, "right").status_code in (200, 302)


@pytest.mark.parametrize("door", [basic, token, jwt])
def test_an_apis_right_passwords_are_given_back(door, alice, client):
    for _ in range(12):
        assert door(client, "right").status_code == 200
    assert lockout.explain("alice", "127.0.0.1").standings[0].count == 0


@pytest.mark.parametrize("door", [basic, token, jwt])
def test_an_api_is_refused_in_json(door, alice, client):
    for _ in range(5):
        door(client, "wrong")
    assert door(client, "wrong").json()["code"] == "locked_out"


def test_the_throttle_is_a_rate_limit(client):
    answers = [client.get("/throttled/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1]["Retry-After"] == "30"


def test_a_misspelt_key_of_a_throttle_is_found(client):
    with pytest.raises(ImproperlyConfigured, match="user_or_ip"):
        client.get("/misspelt/")


@pytest.mark.parametrize("way", ["checked", "method", "function"])
def test_the_frameworks_own_request_is_limited_too(client, way):
    answers = [client.get(f"/{way}/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2]["Retry-After"] == "30"


def test_a_request_that_is_not_djangos_passes():
    assert RateLimitThrottle().allow_request(object(), None)


def test_the_throttle_knows_the_own_actions(client):
    answers = [client.get("/registration/").status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]
