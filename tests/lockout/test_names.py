from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django.lockout import name_in, normalised


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
        ({"token": "x"}, None),
        ({"remote_user": "alice"}, None),
    ],
)
def test_the_name_is_found_in_whatever_credentials(credentials, name):
    assert name_in(credentials) == name
