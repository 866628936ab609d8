from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.cache import caches

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.storage import SecondaryStorage
from crossauth_django.stores import get_store
from tests.concurrency import ticks_during
from tests.stores.servers import hanging

secondary = SecondaryStorage()


@pytest.fixture(params=["default", "redis"])
def alias(request: pytest.FixtureRequest, settings: Any) -> str:
    settings.CROSSAUTH_CACHE_ALIAS = request.param
    caches[request.param].clear()
    return request.param


def test_any_instance_sees_what_another_one_set(alias):
    SecondaryStorage().set("state", "value", 60)
    assert SecondaryStorage().get("state") == "value"


def test_pop_gives_a_value_once(alias):
    secondary.set("state", "value", 60)
    assert [secondary.pop("state"), secondary.pop("state")] == ["value", None]


def test_delete_forgets_and_forgives_a_missing_key(alias):
    secondary.set("state", "value")
    secondary.delete("state")
    secondary.delete("state")
    assert secondary.get("state") is None


def test_set_replaces_value_and_lifetime():
    with time_machine.travel(0, tick=False) as clock:
        secondary.set("state", "first", 10)
        secondary.set("state", "second", 60)
        clock.shift(30)
        assert secondary.get("state") == "second"


@pytest.mark.parametrize("ttl", [0, -5])
def test_a_ttl_that_is_not_positive_deletes(alias, ttl):
    secondary.set("state", "first")
    secondary.set("state", "second", ttl)
    assert secondary.get("state") is None


def test_without_a_ttl_a_value_outlives_djangos_default():
    with time_machine.travel(0, tick=False) as clock:
        secondary.set("state", "value")
        clock.shift(timedelta(days=3650))
        assert secondary.get("state") == "value"


def test_the_longest_ttl_bounds_only_what_has_none(settings):
    settings.CROSSAUTH_SECONDARY_STORAGE_MAX_TTL = timedelta(minutes=1)
    with time_machine.travel(0, tick=False) as clock:
        secondary.set("bounded", "value")
        secondary.set("own", "value", 120)
        clock.shift(61)
        assert secondary.get("bounded") is None
        assert secondary.get("own") == "value"


def test_keys_and_values_are_any_text(alias):
    key = "Ключ \n\0🔑" * 40
    secondary.set(key, "x" * 200_000)
    assert secondary.get(key) == "x" * 200_000
    secondary.set(key, "")
    assert secondary.get(key) == ""


def test_keys_of_other_consumers_are_not_touched(alias):
    get_store().set("state", "theirs")
    secondary.set("state", "ours")
    assert get_store().get("state") == "theirs"


def test_it_can_be_called_on_a_running_event_loop(alias):
    async def handler() -> str | None:
        secondary.set("state", "value", 60)
        return secondary.pop("state")

    assert asyncio.run(handler()) == "value"


def test_the_async_methods_do_the_same(alias):
    async def handler() -> list[str | None]:
        storage = SecondaryStorage()
        await storage.aset("a", "1", 60)
        await storage.aset("b", "2", 60)
        await storage.adelete("b")
        return [
            await storage.aget("a"),
            await storage.apop("a"),
            await storage.aget("b"),
        ]

    assert asyncio.run(handler()) == ["1", "1", None]


def test_the_loop_goes_on_while_an_async_method_waits(settings):
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    with hanging("redis", SOCKET_TIMEOUT=0.2):
        for method in (
            lambda: secondary.aset("state", "value", 60),
            lambda: secondary.aget("state"),
            lambda: secondary.adelete("state"),
            lambda: secondary.apop("state"),
        ):
            ticks, outcome = ticks_during(method)
            assert isinstance(outcome, StoreUnavailableError)
            assert ticks > 2
