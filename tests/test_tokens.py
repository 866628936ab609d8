from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import caches
from django.db import connections
from django.utils.functional import SimpleLazyObject
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crossauth_django import tokens
from crossauth_django.crypto import new_secret
from crossauth_django.exceptions import InvalidTokenError, StoreUnavailableError
from crossauth_django.stores import engine_of, get_store
from tests.concurrency import Crew, run_together, ticks_during
from tests.people import make_user
from tests.reports import report_of
from tests.stores.servers import hanging

HOUR = timedelta(hours=1)


def _shared(name: str) -> Any:
    """An alias that processes share; a table's database is part of the test."""
    databases = {"default", name.removeprefix("database_")} & {
        *django_settings.DATABASES
    }
    mark = pytest.mark.django_db(transaction=True, databases=databases)
    return pytest.param(name, marks=mark)


SHARED = [
    _shared(name)
    for name in django_settings.CACHES
    if name != "default" and engine_of(name)
]
ROUNDS = 50
# Nothing listens there.
GONE = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "redis://127.0.0.1:1/0",
}
pytestmark = pytest.mark.django_db(transaction=True)
MALFORMED: list[Any] = ["", "a", "a" * 42, "a" * 44, "a" * 42 + "\0", "a" * 43 + "\n"]
MALFORMED += ["\ud800" * 43, "é" * 43, "٣" * 43, "../" * 20, "a" * 1_000_000]
MALFORMED += [None, 7, b"a" * 43, "a" * 43]


@pytest.fixture(params=["default", *SHARED])
def alias(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    settings.CROSSAUTH_CACHE_ALIAS = request.param
    yield str(request.param)
    caches[request.param].clear()


@pytest.fixture(params=SHARED)
def shared_crew(
    request: pytest.FixtureRequest, settings: Any, crew: Crew
) -> Iterator[Crew]:
    settings.CROSSAUTH_CACHE_ALIAS = request.param
    crew.run(_use, request.param)
    yield crew
    crew.run(_use, "default")
    caches[request.param].clear()


@pytest.fixture
def user() -> AbstractBaseUser:
    return make_user("ann")


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns so often that what is not locked does break."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def is_good(purpose: str, token: str) -> bool:
    try:
        tokens.peek(purpose, token)
    except InvalidTokenError:
        return False
    return True


def test_a_token_gives_back_user_purpose_and_payload(alias, user):
    token = tokens.issue("email", user, HOUR, email="new@example.org", step=2)
    redeemed = tokens.redeem("email", token)
    assert redeemed == tokens.Redeemed(
        user, "email", {"email": "new@example.org", "step": 2}
    )


def test_a_token_is_spent_once(alias, user):
    token = tokens.issue("reset", user, HOUR)
    tokens.redeem("reset", token)
    with pytest.raises(InvalidTokenError):
        tokens.redeem("reset", token)


def test_another_purpose_neither_accepts_nor_spends(alias, user):
    token = tokens.issue("verify", user, HOUR)
    with pytest.raises(InvalidTokenError):
        tokens.redeem("reset", token)
    assert tokens.redeem("verify", token).user == user


def test_peek_changes_nothing(alias, user):
    token = tokens.issue("reset", user, HOUR, step=1)
    assert tokens.peek("reset", token) == tokens.peek("reset", token)
    assert tokens.redeem("reset", token).payload == {"step": 1}
    assert not is_good("reset", token)


def _new_password(user: Any) -> None:
    user.set_password("another")
    user.save()


def _new_email(user: Any) -> None:
    setattr(user, user.get_email_field_name(), "other@example.org")
    user.save()


def _disable(user: Any) -> None:
    user.is_active = False
    user.save()


@pytest.mark.parametrize(
    "change", [_new_password, _new_email, _disable, lambda user: user.delete()]
)
def test_a_token_dies_with_what_it_authorises(alias, user, change):
    token, looked_at = (tokens.issue("reset", user, HOUR) for _ in range(2))
    change(user)
    assert not is_good("reset", looked_at)
    with pytest.raises(InvalidTokenError):
        tokens.redeem("reset", token)


def test_a_sign_in_does_not_kill_a_token(user, client):
    token = tokens.issue("verify", user, HOUR)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert is_good("verify", token)


def test_a_token_expires(user):
    with time_machine.travel(0, tick=False) as clock:
        token = tokens.issue("reset", user, HOUR)
        clock.shift(3599)
        assert is_good("reset", token)
        clock.shift(2)
        assert not is_good("reset", token)


def test_a_short_token_does_not_shorten_an_earlier_one(alias, user):
    long = tokens.issue("reset", user, timedelta(days=1))
    before = _generation_of(user)
    tokens.issue("reset", user, timedelta(seconds=1))
    assert _generation_of(user) == before
    tokens.issue("reset", user, timedelta(days=2))
    assert _generation_of(user) > before
    assert is_good("reset", long)


def _generation_of(user: Any) -> str | None:
    key = tokens._generation_key("reset", *tokens._reference(user))
    return get_store().get(key)


def test_a_generation_outlives_its_longest_token(user):
    with time_machine.travel(0, tick=False) as clock:
        long = tokens.issue("reset", user, timedelta(days=1))
        tokens.issue("reset", user, timedelta(seconds=1))
        clock.shift(86_399)
        assert is_good("reset", long)


def test_revoke_kills_all_tokens_of_that_user_and_purpose_only(alias, user):
    dead = [tokens.issue("reset", user, HOUR) for _ in range(3)]
    other_purpose = tokens.issue("verify", user, HOUR)
    other_user = tokens.issue("reset", make_user("bob"), HOUR)
    tokens.revoke("reset", user)
    later = tokens.issue("reset", user, HOUR)
    assert not any(is_good("reset", token) for token in dead)
    assert is_good("verify", other_purpose)
    assert is_good("reset", other_user)
    assert is_good("reset", later)


def test_revoking_without_a_token_is_no_error(alias, user):
    tokens.revoke("reset", user)


def test_what_the_server_forgot_is_revoked(user):
    # Evicting a generation must never bring revoked tokens back, so it kills instead.
    token = tokens.issue("reset", user, HOUR)
    get_store().delete(tokens._generation_key("reset", *tokens._reference(user)))
    assert not is_good("reset", token)
    tokens.issue("reset", user, HOUR)
    assert not is_good("reset", token)


def test_a_malformed_token_is_an_invalid_one(alias, user):
    for malformed in MALFORMED:
        for spend in (tokens.redeem, tokens.peek):
            with pytest.raises(InvalidTokenError):
                spend("reset", malformed)


@given(data=st.data())
@hypothesis_settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_forged_token_never_redeems(user, data):
    token = tokens.issue("reset", user, HOUR)
    position = data.draw(st.integers(0, 42))
    changed = token[:position] + data.draw(st.text(max_size=3)) + token[position + 1 :]
    for forged in {data.draw(st.text()), changed, token[::-1], token + token} - {token}:
        with pytest.raises(InvalidTokenError):
            tokens.redeem("reset", forged)
    assert is_good("reset", token)


@pytest.mark.parametrize("name", ["redis", "django_redis_cache"])
def test_the_server_sees_neither_token_nor_address_nor_payload(settings, user, name):
    settings.CROSSAUTH_CACHE_ALIAS = name
    token = tokens.issue("change-email", user, HOUR, email="new@example.org")
    client = get_store()._client
    names = client.keys("*")
    dump = b"\n".join([*names, *(client.get(name) or b"" for name in names)])
    for secret in (token, "example.org", "change-email", user.password):
        assert secret.encode() not in dump


def test_what_is_stored_for_one_token_opens_under_no_other(user):
    token, forged = tokens.issue("reset", user, HOUR), new_secret()
    stored = get_store().get(f"token:reset:{token}")
    for key in (f"token:reset:{forged}", f"token:verify:{token}"):
        get_store().set(key, stored)
    assert not is_good("reset", forged)
    assert not is_good("verify", token)


def test_who_writes_to_the_cache_makes_no_token(user):
    forged = new_secret()
    get_store().set(f"token:reset:{forged}", json.dumps({"user_id": str(user.pk)}))
    with pytest.raises(InvalidTokenError):
        tokens.redeem("reset", forged)


def test_a_token_survives_a_rotated_secret_key(user, settings):
    token = tokens.issue("reset", user, HOUR)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "rotated"
    assert tokens.redeem("reset", token).user == user


def test_a_token_for_a_lazy_user_redeems(user):
    token = tokens.issue("reset", SimpleLazyObject(lambda: user), HOUR)
    assert tokens.redeem("reset", token).user == user


def test_an_unsaved_user_gets_no_token():
    with pytest.raises(ValueError, match="primary key"):
        tokens.issue("reset", get_user_model()(pk=None), HOUR)


@pytest.mark.parametrize("ttl", [timedelta(), timedelta(seconds=-1)])
def test_a_token_without_a_lifetime_is_a_mistake(user, ttl):
    with pytest.raises(ValueError, match="lifetime"):
        tokens.issue("reset", user, ttl)


def test_an_outage_is_not_an_invalid_token(user, settings):
    settings.CACHES = {**settings.CACHES, "gone": GONE}
    settings.CROSSAUTH_CACHE_ALIAS = "gone"
    for call in (
        lambda: tokens.issue("reset", user, HOUR),
        lambda: tokens.redeem("reset", new_secret()),
        lambda: tokens.revoke("reset", user),
    ):
        with pytest.raises(StoreUnavailableError):
            call()


@pytest.mark.parametrize("spend", [tokens.redeem, tokens.peek])
def test_no_error_report_shows_a_token(user, settings, spend):
    settings.CACHES = {**settings.CACHES, "gone": GONE}
    settings.CROSSAUTH_CACHE_ALIAS = "gone"
    token = new_secret()
    with pytest.raises(StoreUnavailableError) as caught:
        spend("reset", token)
    assert token not in report_of(caught)


@pytest.mark.skipif("postgres" not in django_settings.DATABASES, reason="one database")
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_user_of_another_database_is_found_there():
    ann = make_user("ann")
    other = make_user("other", using="postgres", pk=ann.pk)
    token = tokens.issue("reset", other, HOUR)
    tokens.revoke("reset", ann)
    redeemed = tokens.redeem("reset", token).user
    assert redeemed.get_username() == other.get_username()
    assert redeemed._state.db == "postgres"


def test_the_asynchronous_calls_do_the_same(alias, user):
    async def walk() -> None:
        token = await tokens.aissue("reset", user, HOUR, step=1)
        assert (await tokens.apeek("reset", token)).user == user
        redeemed = await tokens.aredeem("reset", token)
        assert (redeemed.user, redeemed.payload) == (user, {"step": 1})
        with pytest.raises(InvalidTokenError):
            await tokens.aredeem("reset", token)
        revoked = await tokens.aissue("reset", user, HOUR)
        await tokens.arevoke("reset", user)
        with pytest.raises(InvalidTokenError):
            await tokens.apeek("reset", revoked)
        # The thread that stands in for this one would keep its connections for ever.
        await sync_to_async(connections.close_all)()

    asyncio.run(walk())


def test_a_token_of_a_database_that_the_site_has_no_more_is_an_invalid_one(user):
    user._state.db = "gone"
    tokens_of = [tokens.issue("reset", user, HOUR) for _ in range(2)]
    with pytest.raises(InvalidTokenError):
        tokens.redeem("reset", tokens_of[0])
    with pytest.raises(InvalidTokenError):
        asyncio.run(tokens.aredeem("reset", tokens_of[1]))


def test_the_loop_goes_on_while_an_asynchronous_call_waits(settings, user):
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    token = new_secret()
    with hanging("redis", SOCKET_TIMEOUT=0.2):
        for call in (
            lambda: tokens.aissue("reset", user, HOUR),
            lambda: tokens.aredeem("reset", token),
            lambda: tokens.apeek("reset", token),
            lambda: tokens.arevoke("reset", user),
        ):
            ticks, outcome = ticks_during(call)
            assert isinstance(outcome, StoreUnavailableError)
            assert ticks > 2


def test_one_of_64_callers_in_8_processes_redeems_a_token(shared_crew, user):
    issued = [tokens.issue("reset", user, HOUR) for _ in range(ROUNDS)]
    won = shared_crew.run(_redeem_all, issued, threads=8)
    assert len(won) == 64
    assert Counter(token for each in won for token in each) == Counter(issued)


def test_one_of_16_threads_redeems_a_token_kept_in_memory(user, eager_threads):
    issued = [tokens.issue("reset", user, HOUR) for _ in range(ROUNDS)]
    won = run_together(16, lambda: _redeem_all(issued))
    assert Counter(token for each in won for token in each) == Counter(issued)


def test_no_issue_at_the_same_moment_undoes_a_revocation(shared_crew, user):
    race = uuid.uuid4().hex
    purposes = [f"{race}-{number}" for number in range(20)]
    revoked = {name: tokens.issue(name, user, HOUR) for name in purposes}
    outcomes = shared_crew.run(_issue_and_revoke, purposes, user.pk)
    assert sum(outcomes) == 20
    assert not [name for name, token in revoked.items() if is_good(name, token)]


def _use(alias: str) -> None:
    django_settings.CROSSAUTH_CACHE_ALIAS = alias


def _redeem_all(issued: list[str]) -> list[str]:
    won = []
    for token in issued:
        try:
            tokens.redeem("reset", token)
        except InvalidTokenError:
            continue
        won.append(token)
    return won


def _issue_and_revoke(purposes: list[str], pk: Any) -> int:
    """Issue for each purpose in every thread, and revoke once in one of them."""
    user = get_user_model()._default_manager.get(pk=pk)
    revocations = 0
    for purpose in purposes:
        tokens.issue(purpose, user, HOUR)
        if get_store().add(f"test:{purpose}", "", 60):
            tokens.revoke(purpose, user)
            revocations += 1
        tokens.issue(purpose, user, HOUR)
    return revocations
