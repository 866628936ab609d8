from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest
from django.contrib.auth import aauthenticate, authenticate, get_user_model
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django import lockout
from crossauth_django.lockout import name_in, normalised
from tests.lockout.hashers import looked_at
from tests.routers import Everything


@given(st.text())
def test_a_normalised_name_is_normal(name):
    once = normalised(name)
    assert normalised(once) == once
    assert once == once.strip()
    assert len(once) <= 1000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Straße", "strasse"),
        (
            "\uff21\uff2c\uff29\uff23\uff25\uff20\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff4f\uff52\uff47",
            "alice@example.org",
        ),
        ("ﬁona", "fiona"),
        ("\u3164\u2060alice\U000e0020", "alice"),
        ("al\x00ice\x7f", "alice"),
        ("al\u0131ce", "alice"),
        (" " * 10_001 + "alice", "alice"),
        (None, "none"),
        (42, "42"),
    ],
)
def test_what_shows_alike_is_alike(name, expected):
    assert normalised(name) == expected


def test_a_name_of_10_megabytes_costs_little():
    begun = time.perf_counter()
    name = normalised("\u200b\uff21" * 5_000_000)
    assert time.perf_counter() - begun < 1
    assert name == normalised("b" * 10_001)


def test_no_name_hides_behind_the_cut():
    hidden = {normalised("\u200b" * n + "alice") for n in range(9_996, 10_002)}
    assert hidden == {normalised("b" * 10_001)}
    assert normalised("\u200b" * 9_995 + "alice") == "alice"


def test_lone_surrogates_are_names_too():
    assert normalised("\ud800A") == "\ud800a"


@pytest.mark.parametrize(
    ("credentials", "name"),
    [
        ({"username": "Alice", "password": "x"}, "alice"),
        ({"email": "Alice@Example.org", "password": "x"}, "alice@example.org"),
        ({"username": None, "login": "alice"}, "alice"),
        ({"password": "x"}, ""),
        ({"username": "", "password": "x"}, ""),
        ({"username": " ", "email": "Alice", "password": "x"}, "alice"),
        ({"username": "bob", "email": "alice", "password": "x"}, "bob"),
        ({"token": "x"}, None),
        ({"remote_user": "alice"}, None),
    ],
)
def test_the_name_is_found_in_whatever_credentials(credentials, name):
    assert name_in(credentials) == name


def test_a_field_that_keeps_nothing_as_null_leaves_the_empty_name_empty(monkeypatch):
    field = get_user_model()._meta.get_field("username")
    monkeypatch.setattr(field, "get_prep_value", lambda text: text or None)
    assert normalised(" ") == ""


@pytest.fixture
def on_mariadb(settings: Any) -> None:
    if "mariadb" not in settings.DATABASES and "CI" not in os.environ:
        pytest.skip("nothing runs behind mariadb")
    settings.DATABASE_ROUTERS = [Everything("mariadb")]
    settings.PASSWORD_HASHERS = ["tests.lockout.hashers.CountingHasher"]


@pytest.mark.django_db(databases="__all__")
def test_what_mariadb_takes_for_one_name_is_one(on_mariadb):
    get_user_model().objects.create_user("sally", password="right")
    wrong, request = f"wrong-{time.monotonic_ns()}", RequestFactory().get("/")
    for name in ("s\u00e1lly", "\u1e63ally", "\u00dfally", "sall\u00ff", "sa\u0301lly"):
        authenticate(request, username=name, password=wrong)
        authenticate(request, username=name, password=wrong)
    assert looked_at(wrong) == 5
    assert lockout.explain("sally", "127.0.0.1").standings[0].count == 5


@pytest.mark.django_db(databases="__all__")
def test_an_accent_of_the_accounts_own_makes_no_difference_to_mariadb(on_mariadb):
    get_user_model().objects.create_user("Jos\u00e9", password="right")
    names = ("jose", "Jos\u00e9", "j\u00f3s\u00e9", "JOSE\u0300")
    assert {normalised(name) for name in names} == {"jose"}


@pytest.mark.django_db(databases="__all__", transaction=True)
def test_on_a_loop_mariadb_is_asked_too(on_mariadb):
    get_user_model().objects.create_user("sally", password="right")

    async def attempt() -> None:
        request = RequestFactory().get("/")
        await aauthenticate(request, username="\u00dfally", password="wrong")

    asyncio.run(attempt())
    assert lockout.explain("sally", "127.0.0.1").standings[0].count == 1


@pytest.mark.django_db(databases="__all__")
def test_a_name_that_mariadb_cannot_compare_is_one_of_its_own(on_mariadb):
    assert normalised("\ud800S\u00e1lly") == "\ud800sally"


def test_elsewhere_an_accent_makes_another_name(db):
    assert normalised("Jos\u00e9") == "jos\u00e9"
