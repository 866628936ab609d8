"""The lockout guards users of whichever model, and its mail reaches them."""

from __future__ import annotations

import re

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core import mail
from django.test import Client

from crossauth_django import lockout

ADDRESS = "127.0.0.1"


@pytest.fixture
def clock():
    with time_machine.travel(1_790_000_000, tick=False) as clock:
        yield clock


@pytest.fixture
def site(settings, new_user):
    settings.ROOT_URLCONF = "tests.lockout.urls"
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    settings.CROSSAUTH_BASE_URL = "https://example.org"
    return new_user("ada@example.org", "right").get_username()


def sign_in(name: str, password: str, client: Client | None = None) -> int:
    body = {"username": name, "password": password}
    return (client or Client()).post("/login/", body).status_code


def test_a_name_is_locked_mailed_about_unlocked_and_signed_in(db, site, clock):
    assert [sign_in(site, "wrong") for _ in range(6)] == [200] * 5 + [429]
    clock.shift(3)
    assert sign_in(site, "right") == 429
    assert lockout.explain(site, ADDRESS).rule == "pair"
    (message,) = mail.outbox
    assert message.to == ["ada@example.org"]
    (page,) = re.findall(r"https://example.org(/\S+)", message.body)
    owner = Client()
    assert owner.post(page).status_code == 200
    assert sign_in(site, "right", owner) == 302
    assert lockout.explain(site, ADDRESS).is_allowed


def test_a_success_forgets_what_was_guessed_before(db, site):
    assert [sign_in(site, "wrong") for _ in range(4)] == [200] * 4
    assert sign_in(site, "right") == 302
    assert [each.count for each in lockout.explain(site, ADDRESS).standings] == [0] * 3


def test_nobodys_name_is_locked_alike_and_mails_nobody(db, site, clock):
    model = get_user_model()
    nobody = "nobody@example.org" if model.USERNAME_FIELD != "username" else "nobody"
    assert [sign_in(nobody, "wrong") for _ in range(6)] == [200] * 5 + [429]
    clock.shift(3)
    assert sign_in(nobody, "wrong") == 429
    assert mail.outbox == []
