"""Every engine against a dictionary, in any order of operations, while time passes."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossauth_django.stores import engine_of
from tests.stores.steps import APPEND, COUNT

KEYS = st.sampled_from(["a", "b"])
SLOTS = st.sampled_from(["", "s"])
VALUES = st.sampled_from(["", "1", "é"])
# On the server's own clock nothing may be close to its end, elsewhere everything may be.
LIVES = st.sampled_from([None, 60, 3600, 0, -1])
SHORT_LIVES = st.sampled_from([None, 0.5, 1, 1.5, 3, 60, 0])
OPERATIONS = st.sampled_from(
    ["set", "add", "get", "get_many", "delete", "pop", "append", "wait"]
)


class Model:
    """What the contract says, for one caller."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], tuple[str, float]] = {}

    def get(self, key: str, slot: str) -> str | None:
        value, end = self.entries.get((key, slot), ("", 0.0))
        return value if end > time.time() else None

    def set(self, key: str, value: str, ttl: float | None, slot: str) -> None:
        end = math.inf if ttl is None else time.time() + ttl
        self.entries[key, slot] = value, end

    def pop(self, key: str, slot: str) -> str | None:
        value = self.get(key, slot)
        self.entries.pop((key, slot), None)
        return value


def wanted(
    model: Model, operation: str, key: str, slot: str, value: str, ttl: Any
) -> Any:
    """Do the operation to the model and return the store's right answer."""
    old = model.get(key, slot)
    if operation == "set" or (operation == "add" and old is None):
        model.set(key, value, ttl, slot)
    if operation == "append":
        model.set(key, (old or "") + value, 60, slot)
        return [(old or "") + value]
    if operation == "pop":
        return model.pop(key, slot)
    answers = {"add": old is None, "get": old, "get_many": [old]}
    if operation == "delete":
        return model.pop(key, slot) is not None
    return answers.get(operation)


def done(store: Any, operation: str, key: str, slot: str, value: str, ttl: Any) -> Any:
    if operation in ("set", "add"):
        return getattr(store, operation)(key, value, ttl, slot=slot)
    if operation == "append":
        return store.step(APPEND, [key], [value], slot=slot)
    if operation == "get_many":
        return store.get_many([key], slot=slot)
    return getattr(store, operation)(key, slot=slot)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_the_store_answers_like_a_dictionary(store, alias, data):
    on_redis = engine_of(alias) == "redis"
    run, model = uuid.uuid4().hex, Model()
    step = st.tuples(
        OPERATIONS,
        KEYS,
        SLOTS,
        VALUES,
        LIVES if on_redis else SHORT_LIVES,
    )
    with time_machine.travel(time.time(), tick=on_redis) as clock:
        for operation, key, slot, value, ttl in data.draw(st.lists(step, max_size=25)):
            if operation == "wait":
                if not on_redis:
                    clock.shift(0.75)
                continue
            case = (operation, run + key, slot and run, value, ttl)
            expected = wanted(model, *case)
            assert done(store, *case) == expected, case


@pytest.mark.parametrize("times", [1, 5])
def test_a_count_of_two_keys_follows_the_model(store, key, times):
    for number in range(1, times + 1):
        assert store.step(COUNT, [key, "b"], [60_000], slot=key) == [number, number]
