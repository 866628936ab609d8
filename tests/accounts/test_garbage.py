"""Ids and text from URLs and providers: nothing raises, nothing matches by accident."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossauth_django.models import SocialAccount
from tests.accounts.conftest import identity, make_user

pytestmark = pytest.mark.django_db

GARBAGE = [
    *("", " ", "\0", "1\0", "\ud800", "x", "1x", "1.0", "-1", "1_0", "٣", "True"),
    *(b"", b"1", bytearray(b"1"), 1.5, float("nan"), True, False, None),
    *(object(), [], [1], {}, (1,), -1, 2**31, 2**63, -(2**63) - 1, 10**100, "9" * 5000),
    *(uuid.UUID(int=5), uuid.UUID(int=5).hex, "%", "' or 1=1 --", "a" * 100_000),
]


def check(storage, value):
    assert storage.find_user_by_id(value) is None
    assert storage.find_social_account_by_id(value) is None
    assert list(storage.list_social_accounts(user_id=value)) == []
    assert storage.find_user_by_email(value) is None
    names = {"provider": value, "provider_user_id": value}
    assert storage.find_social_account(**names) is None
    assert storage.has_social_account(**names) is False
    user_id = value if value is not None else "x"
    known = {"provider": "acme", "provider_user_id": "known"}
    assert storage.find_social_account(**known, user_id=user_id) is None
    result = storage.disconnect_social_account(
        user_id=value, provider="acme", social_account_id=value
    )
    assert result == "not_found"


@pytest.fixture
def known() -> None:
    # Numbers far from those that are tried.
    user = make_user()
    SocialAccount.objects.create(user_id=user.pk, **identity(provider_user_id="known"))


def test_garbage_finds_nothing(storage, known):
    for value in GARBAGE:
        check(storage, value)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    value=st.one_of(
        st.text(),
        st.binary(),
        st.integers(min_value=10**6),
        st.integers(max_value=0),
        st.floats(),
        st.uuids(),
        st.lists(st.integers()),
        st.dictionaries(st.text(), st.text()),
    )
)
def test_any_value_finds_nothing(storage, known, value):
    if value != "1":
        check(storage, value)
