"""What becomes of the attempts of a request that does not simply sign one person in."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.core import mail
from django.test import Client

from crossauth_django import lockout
from crossauth_django.backends import LockoutBackend
from crossauth_django.exceptions import LockedOutError, StoreUnavailableError
from tests.lockout.test_middleware import by_form, by_json, standing
from tests.lockout.urls import ANSWERS

BACKENDS = [
    "crossauth_django.backends.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
]


def user_count(name: str) -> int:
    found = lockout.explain(name, "127.0.0.1").standings
    return next(each.count for each in found if each.rule == "user")


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_error_that_is_an_answer_gives_a_right_password_back(
    alice, client, clock, kind
):
    for _ in range(6):
        by_json(client, "right", f"/answer/{kind}/")
    assert standing() == 0
    by_json(client, "wrong", f"/answer/{kind}/")
    assert standing() == 1


def test_one_that_a_backend_raises_leaves_the_attempt_counted(
    alice, client, clock, settings
):
    settings.AUTHENTICATION_BACKENDS = [
        BACKENDS[0],
        "tests.lockout.nested.RaisesNotFound",
    ]
    assert by_json(client, "right").status_code == 404
    assert standing() == 1


@pytest.mark.parametrize("path", ["/made-up/", "/async-made-up/"])
def test_a_request_that_a_library_made_up_is_settled_with_the_real_one(
    alice, client, clock, path
):
    answers = [by_json(client, "right", path).json()["ok"] for _ in range(7)]
    assert answers == [True] * 7
    assert standing() == 0
    answers = [by_json(client, "wrong", path).status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]


def test_of_two_refusals_the_longer_wait_and_every_new_lock_are_told():
    tried = lockout.SignIns()
    tried.refused(LockedOutError(60, rule="pair", new_locks=("p1",)), "Alice")
    tried.refused(LockedOutError(1, rule="user"), "alice")
    assert tried.refusal.retry_after == 60
    assert (tried.refusal.new_locks, tried.refusal.rule) == (("p1",), "pair")
    assert tried.login == "Alice"
    tried.refused(LockedOutError(120, rule="user", new_locks=("u1",)), "bob")
    assert tried.refusal.new_locks == ("p1", "u1")
    assert (tried.refusal.retry_after, tried.login) == (120, "Alice")


def test_the_lock_of_a_second_name_has_its_own_mail():
    tried = lockout.SignIns()
    tried.refused(LockedOutError(1), "alice")
    tried.refused(LockedOutError(60, new_locks=("p1",)), "bob")
    assert tried.login == "bob"
    tried.refused(StoreUnavailableError("gone"), "bob")
    assert isinstance(tried.refusal, StoreUnavailableError)


def test_a_name_that_is_tried_twice_still_gets_its_mail(alice, client, clock, settings):
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    body = {"names": ["Alice", "alice"], "password": "wrong"}
    for _ in range(3):
        client.post("/two-names/", body, content_type="application/json")
    clock.shift(3)
    client.post("/two-names/", body, content_type="application/json")
    assert [message.to for message in mail.outbox] == [["alice@example.org"]]


def test_of_two_who_were_right_the_one_who_signs_in_is_settled(alice, client, clock):
    get_user_model().objects.create_user("boss", password="right")
    for _ in range(3):
        by_form(client, "wrong")
    body = [{"username": name, "password": "right"} for name in ("alice", "boss")]
    answer = client.post("/four-eyes/", body, content_type="application/json")
    assert answer.json()["ok"]
    assert [user_count(name) for name in ("alice", "boss")] == [0, 0]
    cookie = client.cookies["crossauth_device"].value
    assert lockout.device_of(cookie, "alice")
    assert lockout.device_of(cookie, "boss") is None


@pytest.mark.parametrize(("second", "failures"), [("alice", 4), ("*" * 20, 5)])
def test_a_right_password_is_given_back_also_where_a_refusal_follows(
    alice, client, clock, second, failures
):
    for _ in range(failures):
        by_json(client, "wrong", name=second)
    before = standing()
    body = {"names": ["alice", second], "password": "right"}
    answer = client.post("/two-names/", body, content_type="application/json")
    assert answer.json() == {"ok": True}
    assert standing() == before


def test_a_wrong_password_after_a_refusal_stays_counted(alice, client, clock):
    for _ in range(5):
        by_json(client, "wrong", name="bob")
    body = {"names": ["bob", "alice", "bob"], "password": "wrong"}
    client.post("/two-names/", body, content_type="application/json")
    assert standing() == 1


def test_an_address_that_was_typed_is_known_beside_the_username(alice):
    right, other = (
        lockout.Attempt(name, (), (), name) for name in ("alice@example.org", "boss")
    )
    tried = lockout.SignIns(pending=[right, other])
    owner = lockout.owner_of(alice)
    assert tried.succeeded(["alice", "Alice@example.org"], owner) is right
    assert list(tried.signed_in) == ["alice", "alice@example.org"]
    assert tried.pending == [other]


def test_of_two_strange_names_the_last_is_settled_and_neither_known(alice):
    first, last = (lockout.Attempt(name, (), (), name) for name in ("one", "two"))
    tried = lockout.SignIns(pending=[first, last])
    assert tried.succeeded(["alice", ""], lockout.owner_of(alice)) is last
    assert list(tried.signed_in) == ["alice"]


@pytest.mark.parametrize("spelling", ["Alice", "alice\u1160"])
def test_who_has_a_name_that_counts_as_alices_forgives_no_guess_at_hers(
    alice, clock, spelling
):
    get_user_model().objects.create_user(spelling, password="mine")
    for _ in range(4):
        by_form(Client(), "wrong")
    other = Client()
    assert by_form(other, "mine", name=spelling).status_code == 302
    assert by_form(other, "wrong").status_code == 200
    # Five were counted. Nor is the browser where it was alice's.
    assert by_form(other, "wrong").status_code == 429
    clock.shift(60)
    assert by_form(other, "right").status_code == 302


def test_a_name_of_ones_own_spelling_starts_afresh_as_any_other(alice, clock):
    get_user_model().objects.create_user("Bob", password="mine")
    for _ in range(3):
        answers = [by_form(Client(), "wrong", name="Bob") for _ in range(4)]
        answers.append(by_form(Client(), "mine", name="Bob"))
        assert [each.status_code for each in answers] == [200] * 4 + [302]


def test_a_name_that_nothing_is_left_of_makes_no_cookie(alice, client, clock):
    get_user_model().objects.create_user("\u3164", password="right")
    assert by_form(client, "right", name="\u3164").status_code == 302
    assert "crossauth_device" not in client.cookies
    assert by_form(client, "right").status_code == 302
    assert by_form(Client(), "right").status_code == 302


def test_a_user_without_a_username_is_known_by_no_name(alice, rf, clock):
    alice.username = None
    request = rf.post("/")
    user_logged_in.send(type(alice), request=request, user=alice)
    assert list(lockout.sign_ins(request).signed_in) == [""]


def test_a_username_may_be_a_number(alice, rf, clock):
    alice.username = 42
    request = rf.post("/")
    user_logged_in.send(type(alice), request=request, user=alice)
    assert lockout.cookie_for(None, lockout.sign_ins(request).signed_in)


def test_a_name_that_django_masks_is_counted_without_a_request_too(alice, clock):
    LockoutBackend().authenticate(None, username="alice", password="wrong")
    masked = {"username": "*" * 20, "password": "*" * 20}
    user_login_failed.send(sender="", credentials=masked, request=None)
    assert user_count("alice") == 1


def test_a_backend_that_asks_about_another_name_hides_no_failure(
    alice, clock, settings
):
    settings.AUTHENTICATION_BACKENDS = [
        BACKENDS[0],
        "tests.lockout.nested.AsksAboutTheMailbox",
        BACKENDS[1],
    ]
    for _ in range(20):
        authenticate(username="mail:alice", password="wrong")
    for _ in range(25):
        authenticate(username="alice", password="wrong")
    assert user_count("alice") == 20
    assert authenticate(username="alice", password="right") is None
