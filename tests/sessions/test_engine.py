"""What Django promises of every session engine, on ours."""

from __future__ import annotations

import json
import logging
import pickle
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.utils import timezone

from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.caches import aliases
from tests.sessions.conftest import run

KINDS = ("visitor", "table", "row")


@pytest.fixture(
    params=aliases(
        "redis", "django_redis_cache", "default", "pymemcache", "database_default"
    )
)
def cache(request, settings):
    settings.CROSSAUTH_CACHE_ALIAS = request.param
    return request.param


@pytest.fixture(params=KINDS)
def session(request, settings, user, cache):
    """A new session: of a visitor in the cache or in the table, or of a user."""
    if request.param == "table":
        settings.CROSSAUTH_ANONYMOUS_SESSIONS = "table"
    session = SessionStore()
    if request.param == "row":
        session[SESSION_KEY] = str(user.pk)
    return session


def again(session):
    """The session as another request finds it."""
    return SessionStore(session.session_key)


def test_a_new_session_is_neither_modified_nor_accessed():
    session = SessionStore()
    assert (session.modified, session.accessed, session.session_key) == (False,) * 2 + (
        None,
    )


def test_values_are_kept(session):
    session["cat"] = "dog"
    session.save()
    assert again(session)["cat"] == "dog"
    assert session.exists(session.session_key)


def test_dictionary_methods(session):
    session.update({"a": 1, "b": 2})
    assert session.get("missing", "default") == "default"
    assert session.setdefault("a", 3) == 1
    assert session.setdefault("c", 3) == 3
    assert session.pop("a") == 1
    assert session.pop("a", None) is None
    with pytest.raises(KeyError):
        session.pop("a")
    assert session.has_key("b")
    assert "b" in session
    assert {"b", "c"} <= set(session.keys())
    assert {2, 3} <= set(session.values())
    assert ("b", 2) in session.items()
    del session["b"]
    assert "b" not in session


def test_a_pop_of_what_is_missing_modifies_nothing():
    session = SessionStore()
    session.pop("missing", None)
    assert (session.accessed, session.modified) == (True, False)


def test_clear_leaves_the_session_without_data(session):
    session["x"] = 1
    session.save()
    later = again(session)
    later.clear()
    assert (later.accessed, later.modified) == (True, True)
    later.save()
    assert "x" not in again(session)
    assert session.exists(session.session_key)


def test_a_save_keeps_what_is_not_touched(session):
    session["a"] = "b"
    session.save()
    later = again(session)
    later["c"] = "d"
    later.save()
    assert again(session)["a"] == "b"


def test_saving_without_having_loaded_keeps_the_data(session):
    session["a"] = "b"
    session.save()
    again(session).save()
    assert again(session)["a"] == "b"


def test_flush_deletes_the_session_and_the_key(session):
    session["foo"] = "bar"
    session.save()
    key = session.session_key
    session.flush()
    assert not session.exists(key)
    assert (session.session_key, session.modified, session.accessed) == (
        None,
        True,
        True,
    )
    assert session.is_empty()
    assert dict(SessionStore(key).items()) == {}


def test_delete_of_another_key_leaves_this_one(session):
    session.save()
    other = SessionStore()
    other["a"] = 1
    other.save()
    session.delete(other.session_key)
    assert session.exists(session.session_key)
    assert not session.exists(other.session_key)


def test_delete_of_nothing_is_no_error(session):
    session.delete()
    session.delete("a" * 43)
    assert session.session_key is None


def test_cycle_key_keeps_the_data_and_kills_the_key(session):
    session["a"], session["b"] = "c", "d"
    session.save()
    key = session.session_key
    later = again(session)
    later.cycle_key()
    assert later.session_key != key
    assert not session.exists(key)
    later.save()
    assert {"a": "c", "b": "d"}.items() <= dict(again(later).items()).items()
    assert "a" not in SessionStore(key)


def test_cycle_key_of_a_session_without_a_key_makes_one(session):
    session.cycle_key()
    assert session.session_key
    session.save()
    assert session.exists(session.session_key)


def test_create_saves_an_empty_session(cache, db):
    session = SessionStore()
    session.create()
    assert session.exists(session.session_key)
    assert session.modified


def test_save_after_a_delete_elsewhere_raises(session):
    session["a"] = 1
    session.save()
    later = again(session)
    later["a"] = 2
    session.delete()
    with pytest.raises(UpdateError):
        later.save()
    assert not session.exists(session.session_key or "")


def test_clear_and_save_after_a_delete_elsewhere_raises(session):
    session.save()
    later = again(session)
    session.delete()
    later.clear()
    with pytest.raises(UpdateError):
        later.save()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "1",
        "1234567",
        "x" * 31,
        "x" * 129,
        "ü" * 43,
        "a b" * 12,
        "x\n" * 20,
        "../" * 14,
    ],
)
def test_malformed_keys_are_no_keys(key, db):
    session = SessionStore(key)
    assert session.session_key is None
    assert not session.exists(key)
    assert session.is_empty()


def test_an_unknown_key_is_not_taken_over(cache, db):
    session = SessionStore("a" * 43)
    session["x"] = 1
    assert session.session_key is None
    session.save()
    assert session.session_key not in (None, "a" * 43)


def test_the_key_cannot_be_set():
    with pytest.raises(AttributeError):
        SessionStore().session_key = "a" * 43


def test_keys_carry_256_bits(session):
    session.save()
    # A user's has more characters: its digest is chosen to lie in the user's bucket.
    assert len(session.session_key) == (48 if SESSION_KEY in session else 43)


def test_is_empty(session):
    assert SessionStore().is_empty()
    session["a"] = 1
    assert not session.is_empty()


# Expiry.


def test_the_default_expiry_is_the_cookies_age(session, settings):
    settings.SESSION_COOKIE_AGE = 99
    moment = timezone.now()
    assert session.get_expiry_age(modification=moment) == 99
    assert session.get_expiry_date(modification=moment) - moment == timedelta(
        seconds=99
    )


@pytest.mark.parametrize("value", [10, timedelta(seconds=10), "date"])
def test_a_custom_expiry_in_seconds_or_as_a_date(session, value):
    moment = timezone.now()
    session.set_expiry(moment + timedelta(seconds=10) if value == "date" else value)
    assert 9 <= session.get_expiry_age(modification=moment) <= 10
    session.save()
    assert session.exists(session.session_key)
    with time_machine.travel(moment + timedelta(seconds=11), tick=True):
        assert dict(again(session).items()) == {}
        assert again(session).session_key is not None  # before it is looked at


def test_expiry_none_goes_back_to_the_default(session, settings):
    session.set_expiry(10)
    session.set_expiry(None)
    session.set_expiry(None)
    assert session.get_expiry_age() == settings.SESSION_COOKIE_AGE


def test_expiry_at_browser_close(session, settings):
    session.set_expiry(10)
    assert not session.get_expire_at_browser_close()
    session.set_expiry(0)
    assert session.get_expire_at_browser_close()
    session.set_expiry(None)
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    assert session.get_expire_at_browser_close()


def test_an_expiry_in_the_past_is_over_at_once(session):
    session["a"] = 1
    session.set_expiry(-3600)
    session.save()
    assert "a" not in again(session)
    assert SessionStore(session.session_key).load() == {}


def test_test_cookies(session):
    assert not session.test_cookie_worked()
    session.set_test_cookie()
    session.save()
    later = again(session)
    assert later.test_cookie_worked()
    later.delete_test_cookie()
    assert not later.test_cookie_worked()


# Data.


def test_decode_undoes_encode(session):
    data = {"a test key": "a test value", "n": [1, {"x": None}]}
    assert session.decode(session.encode(data)) == data


def test_corrupt_data_are_logged_and_empty(session, caplog):
    with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
        assert session.decode("not:signed:data") == {}
    assert "corrupted" in caplog.text


class PickleSerializer:
    def dumps(self, value):
        return pickle.dumps(value)

    def loads(self, data):
        return pickle.loads(data)


class PrefixSerializer:
    def dumps(self, value):
        return b"prefix" + json.dumps(value).encode()

    def loads(self, data):
        if not data.startswith(b"prefix"):
            raise ValueError("not ours")
        return json.loads(data[6:])


def test_another_serializer(session, settings):
    settings.SESSION_SERIALIZER = f"{__name__}.PrefixSerializer"
    session = SessionStore()
    session["a"] = 1
    session.save()
    assert again(session)["a"] == 1


def test_clear_expired_deletes_what_is_over_and_nothing_else(settings, db):
    settings.CROSSAUTH_ANONYMOUS_SESSIONS = "table"
    stays, goes = SessionStore(), SessionStore()
    for session, age in ((stays, 3600), (goes, -3600)):
        session["key"] = "value"
        session.set_expiry(age)
        session.save()
    SessionStore.clear_expired()
    assert [row.token_hash for row in UserSession.objects.all()] == [stays.digest]


# Async twins.


def test_async_twins_do_the_same(session, transactional_db):
    async def use():
        await session.aset("a", 1)
        await session.asave()
        key = session.session_key
        later = SessionStore(key)
        assert await later.aget("a") == 1
        assert await later.aexists(key)
        await later.acycle_key()
        await later.asave()
        assert not await later.aexists(key)
        key = later.session_key
        assert (await SessionStore(key).aload())["a"] == 1
        await later.aflush()
        assert later.session_key is None
        assert not await later.aexists(key)
        new = SessionStore()
        await new.acreate()
        assert await new.aexists(new.session_key)
        await new.adelete()
        assert not await new.aexists(new.session_key)
        assert (await new._aget_new_session_key()) != new.session_key
        await SessionStore.aclear_expired()

    run(use())


def test_async_save_after_a_delete_elsewhere_raises(session, transactional_db):
    async def use():
        await session.aset("a", 1)
        await session.asave()
        later = SessionStore(session.session_key)
        await later.aset("a", 2)
        await session.adelete()
        with pytest.raises(UpdateError):
            await later.asave()

    run(use())


def test_what_is_at_rest_is_a_digest(session):
    session["secret"] = "x"
    session.save()
    rows = UserSession.objects.values_list("token_hash", "data")
    assert session.session_key not in str(list(rows))


def test_a_visitor_who_signs_in_without_login_gets_a_row(cache, user):
    session = SessionStore()
    session["cart"] = "full"
    session.save()
    later = SessionStore(session.session_key)
    later.update(
        {SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: "x", HASH_SESSION_KEY: "y"}
    )
    later.save()
    assert UserSession.objects.get().user_id == user.pk
    assert SessionStore(session.session_key)["cart"] == "full"
