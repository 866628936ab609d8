"""What every engine promises, on every cache that runs."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
import time_machine
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crossauth_django.stores import engine_of, get_store, joins_transactions
from tests.stores.conftest import DATABASE_ALIASES
from tests.stores.steps import APPEND, COUNT, MOVE, SHOW

STRANGE = [
    "",
    " ",
    "a b",
    "line\nline\r\n",
    "nul\0nul",
    "🔑 emoji",
    "lone \ud800 surrogate",
    "x" * 300,
    "é",
    "e\u0301",
    "\x7f\x80\xff",
    "'; DROP TABLE cache; --%s%%",
    "}{:*?[]",
]
BEYOND_FLOATS = pytest.param(10**400, id="beyond floats")


def test_a_value_stays_until_it_is_deleted(store, key):
    store.set(key, "value")
    assert [store.get(key), store.get(key)] == ["value", "value"]
    assert store.delete(key)
    assert store.get(key) is None


def test_a_missing_key_is_none_and_no_error(store, key):
    assert store.get(key) is None
    assert store.pop(key) is None
    assert not store.delete(key)


def test_set_replaces_the_value(store, key):
    store.set(key, "first", 60)
    store.set(key, "second", 60)
    assert store.get(key) == "second"


def test_many_are_read_in_the_order_of_their_keys(store, key):
    a, b, missing = key + "a", key + "b", key + "missing"
    store.set(a, "", 60, slot="s")
    store.set(b, "välue \ud800", slot="s")
    store.set(missing, "in no slot")
    found = store.get_many([b, missing, a], slot="s")
    assert found == ["välue \ud800", None, ""]
    assert store.get_many([missing], slot="") == ["in no slot"]
    assert store.get_many([], slot="s") == []


def test_what_has_expired_is_missing_among_many(store, key, wait):
    store.set(key, "value", 0.2, slot="s")
    store.set(key + "longer", "value", 30, slot="s")
    wait(0.25)
    assert store.get_many([key, key + "longer"], slot="s") == [None, "value"]


def test_many_are_deleted_together(store, key):
    for name in "abc":
        store.set(key + name, name, 60)
    store.delete_many([(key + "a", ""), (key + "missing", "slot"), (key + "c", "")])
    store.delete_many([])
    assert [store.get(key + name) for name in "abc"] == [None, "b", None]


def test_pop_returns_the_value_once(store, key):
    store.set(key, "value", 60)
    assert [store.pop(key), store.pop(key), store.get(key)] == ["value", None, None]


def test_a_popped_key_can_be_set_again(store, key):
    store.set(key, "first")
    store.pop(key)
    store.set(key, "second")
    assert store.pop(key) == "second"


def test_add_sets_only_a_free_key(store, key):
    assert [store.add(key, "first"), store.add(key, "second")] == [True, False]
    assert store.get(key) == "first"


def test_add_takes_a_key_that_was_popped(store, key):
    store.set(key, "first")
    store.pop(key)
    assert store.add(key, "second", 60)
    assert store.get(key) == "second"


def test_one_second_passes(store, key, wait):
    store.set(key, "value", 1)
    store.set(key + "longer", "value", 30)
    wait(1.05)
    assert [store.get(key), store.pop(key), store.delete(key)] == [None, None, False]
    assert store.add(key, "again")
    assert store.get(key + "longer") == "value"


def test_lifetimes_are_kept_below_a_second(store, key, wait):
    store.add(key, "value", 0.2)
    wait(0.25)
    assert store.get(key) is None


def test_nothing_expires_early(store, key):
    # On the real clock: some servers count in whole seconds, and drop what is due in the next.
    for _ in range(3):
        begun = time.monotonic()
        store.set(key, "value", 1.9)
        time.sleep(1.7)
        found = store.get(key)
        if found is not None or time.monotonic() - begun < 1.9:
            break
    assert found == "value"


def test_a_new_lifetime_replaces_the_old_one(store, key, wait):
    store.set(key, "value", 0.2)
    store.set(key, "value")
    wait(0.25)
    assert store.get(key) == "value"


@pytest.mark.parametrize("ttl", [0, -1, -0.5, -(10**12), -math.inf])
def test_a_lifetime_that_is_over_deletes(store, key, ttl):
    store.set(key, "first")
    store.set(key, "second", ttl)
    assert store.get(key) is None


def test_add_with_a_lifetime_that_is_over_stores_nothing(store, key):
    assert store.add(key, "value", 0)
    assert store.get(key) is None
    store.set(key, "value")
    assert not store.add(key, "other", -1)
    assert store.get(key) == "value"


@pytest.mark.parametrize(
    "ttl", [None, math.inf, 10**9, 10**15, BEYOND_FLOATS, 2_592_001.5]
)
def test_long_lifetimes_are_no_short_ones(store, key, ttl):
    store.set(key, "value", ttl)
    assert store.get(key) == "value"


def test_not_a_number_is_no_lifetime(store, key):
    with pytest.raises(ValueError, match="not a number"):
        store.set(key, "value", math.nan)


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_is_a_key(store, key, text):
    store.set(key + text, "value")
    assert store.pop(key + text) == "value"


def test_keys_differ_exactly(store, key):
    for position, text in enumerate(STRANGE):
        store.set(key + text, str(position))
        store.set(key.upper() + text + " ", "other")
    assert [store.get(key + text) for text in STRANGE] == [
        str(position) for position in range(len(STRANGE))
    ]


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_is_a_value(store, key, text):
    store.set(key, text)
    assert store.get(key) == text
    assert not store.add(key, "other")
    assert store.pop(key) == text


def test_a_megabyte_is_stored_or_refused(store, alias, key):
    store.set(key, "before")
    if "memc" in alias or "libmc" in alias:
        with pytest.raises(ValueError, match="too large"):
            store.set(key, "x" * 2**20)
        assert store.get(key) == "before"
        store.set(key, "x" * (2**20 - 1024))
        assert store.pop(key) == "x" * (2**20 - 1024)
    else:
        store.set(key, "é" * 2**19)
        assert store.pop(key) == "é" * 2**19


def test_a_slot_is_a_part_of_the_key(store, key):
    for position, slot in enumerate(["", *STRANGE[1:]]):
        store.set(key, str(position), slot=slot)
    assert [store.pop(key, slot=slot) for slot in ["", *STRANGE[1:]]] == [
        str(position) for position in range(len(STRANGE))
    ]


def test_a_step_reads_and_writes_as_one(store, key):
    counts = [store.step(COUNT, [key], [60_000]) for _ in range(3)]
    assert counts == [[1], [2], [3]]
    assert store.get(key) == "3"


def test_a_step_spans_the_keys_of_a_slot(store, key):
    a, b = key + "a", key + "b"
    store.set(a, "5", slot="s")
    assert store.step(COUNT, [b, a], [60_000], slot="s") == [1, 6]
    assert store.step(MOVE, [a, b], ["4"], slot="s") == [2, 5]
    assert [store.get(a, slot="s"), store.get(b, slot="s")] == ["2", "5"]


def test_a_step_sees_values_clock_and_arguments(store, key):
    store.set(key, "välue \ud800")
    value, now, *rest = store.step(SHOW, [key], [7, "ärg\0"])
    assert [value, *rest] == ["välue \ud800", "7", "ärg\0", None]
    assert abs(now - time.time() * 1000) < 60_000


def test_a_step_deletes(store, key):
    store.set(key, "value")
    store.step(SHOW, [key], ["", ""])
    assert store.get(key) is None
    assert store.step(SHOW, [key], ["", ""])[0] is None


def test_a_step_over_several_keys_deletes(store, key):
    store.step(COUNT, [key, "b" + key], [1], slot="s")
    store.delete(key, slot="s")
    assert store.step(COUNT, [key], [60_000], slot="s") == [1]


def test_what_a_step_writes_expires(store, key, wait):
    store.step(COUNT, [key], [200])
    store.step(COUNT, [key, key + "b"], [200], slot="s")
    wait(0.25)
    assert store.step(COUNT, [key], [60_000]) == [1]
    assert store.step(COUNT, [key, key + "b"], [60_000], slot="s") == [1, 1]


def test_a_step_writes_over_what_add_set_and_the_other_way_round(store, key):
    store.add(key, "1", 60)
    store.step(COUNT, [key], [60_000])
    assert not store.add(key, "1")
    assert store.pop(key) == "2"


def test_several_keys_need_a_slot_and_differ(store, key):
    with pytest.raises(ValueError, match="slot"):
        store.step(COUNT, [key, key + "b"], [60_000])
    with pytest.raises(ValueError, match="slot"):
        store.get_many([key, key + "b"], slot="")
    with pytest.raises(ValueError, match="differ"):
        store.step(COUNT, [key, key], [60_000], slot="s")
    with pytest.raises(ValueError, match="differ"):
        store.get_many([key, key], slot="s")


def test_a_step_cannot_write_without_a_lifetime(store, alias, key):
    store.set(key, "1")
    store.set(key, "1", slot="s")
    for slot, wanted in [("", [key]), ("s", [key, key + "b"])]:
        with pytest.raises(Exception, match=r"lifetime|expire"):
            store.step(COUNT, wanted, [0], slot=slot)
        assert store.get(key, slot=slot) == "1"


def test_the_async_twins_do_the_same(store, key):
    async def handler() -> list[Any]:
        await store.aset(key, "value", 60)
        answers = [await store.aget(key), await store.aadd(key, "other", 60)]
        answers.append(await store.aget_many([key], slot=""))
        answers += [await store.apop(key), await store.adelete(key)]
        answers.append(await store.astep(COUNT, [key], [60_000], slot="s"))
        await sync_to_async(connections.close_all)()
        return answers

    expected = ["value", False, ["value"], "value", False, [1]]
    assert asyncio.run(handler()) == expected


def test_the_plain_methods_work_on_a_running_loop(store, key):
    async def handler() -> list[Any]:
        store.set(key, "1", 60)
        return [
            store.get(key),
            store.add(key, "2"),
            store.step(COUNT, [key], [60_000]),
            store.step(COUNT, [key, "b"], [60_000], slot=key),
            store.get_many([key, "b"], slot=key),
            store.pop(key),
            store.delete(key),
        ]

    expected = ["1", False, [2], [1, 1], ["1", "1"], "2", False]
    assert asyncio.run(handler()) == expected


def test_prefix_version_and_key_function_separate(store, alias, key, settings):
    store.set(key, "theirs")
    for option in [
        {"KEY_PREFIX": f"p{key}"},
        {"VERSION": 7},
        {"KEY_FUNCTION": "tests.stores.test_contract.reversed_key"},
    ]:
        changed = {**settings.CACHES[alias], **option}
        with override_settings(CACHES={**settings.CACHES, alias: changed}):
            other = get_store(alias)
            assert other.get(key) is None
            other.set(key, "ours", 60)
            assert other.step(APPEND, [key], ["!"]) == ["ours!"]
            assert other.pop(key) == "ours!"
    assert get_store(alias).pop(key) == "theirs"


def reversed_key(key: str, key_prefix: str, version: int) -> str:
    return f"{version}-{key_prefix}-{key[::-1]}"


def test_clear_clears(store, alias, key):
    store.set(key, "value")
    caches[alias].clear()
    caches[alias].close()
    assert store.get(key) is None


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_an_add_over_an_expired_row_sees_who_was_faster(store, alias, key):
    connection = connections[alias.removeprefix("database_")]
    with time_machine.travel(time.time() - 600):
        store.set(key, "expired", 1)
    pending = [lambda: store.set(key, "theirs", 60)]

    def wrapper(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE") and pending:
            pending.pop()()
        return execute(sql, *rest)

    with connection.execute_wrapper(wrapper):
        assert not store.add(key, "ours", 60)
    assert store.get(key) == "theirs"


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_no_engine_culls_what_lives(alias, keys, settings):
    options = {"MAX_ENTRIES": 5, "CULL_FREQUENCY": 2}
    changed = {**settings.CACHES[alias], "OPTIONS": options}
    with override_settings(CACHES={**settings.CACHES, alias: changed}):
        store = get_store(alias)
        names = keys(20)
        for name in names:
            store.add(name, "value", 60)
            store.step(COUNT, [name], [60_000], slot="s")
        assert [store.pop(name) for name in names] == ["value"] * 20
        assert [store.get(name, slot="s") for name in names] == ["1"] * 20


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_what_django_culls_is_missing_and_breaks_nothing(alias, keys, settings):
    names = keys(20)
    store = get_store(alias)
    for name in names:
        store.set(name, "value", 60)
    # Every entry goes, as under an attacker who makes more than MAX_ENTRIES.
    options = {"MAX_ENTRIES": 0, "CULL_FREQUENCY": 0}
    changed = {**settings.CACHES[alias], "OPTIONS": options}
    with override_settings(CACHES={**settings.CACHES, alias: changed}):
        caches[alias].set("theirs", "value", 60)
    assert [store.get(name) for name in names] == [None] * 20
    assert [store.pop(names[0]), store.add(names[1], "again", 60)] == [None, True]
    assert store.step(COUNT, [names[2]], [60_000]) == [1]


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_what_is_neither_expired_nor_djangos_survives_its_culling(alias, key, settings):
    store = get_store(alias)
    caches[alias].clear()
    caches[alias].set("theirs", "value", -1)
    store.set(key, "value", 60)
    with time_machine.travel(time.time() - 600):
        for number in range(20):
            store.set(f"{key}-{number}", "expired", 1)
    options = {"MAX_ENTRIES": 10}
    changed = {**settings.CACHES[alias], "OPTIONS": options}
    with override_settings(CACHES={**settings.CACHES, alias: changed}):
        caches[alias].set("theirs", "value", 60)
        assert caches[alias].get("theirs") == "value"
    assert store.pop(key) == "value"


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_a_database_reads_many_in_one_query(store, alias, key):
    keys = [key, key + "b"]
    store.step(COUNT, keys, [60_000], slot="s")
    with CaptureQueriesContext(connections[alias.removeprefix("database_")]) as queries:
        assert store.get_many(keys, slot="s") == ["1", "1"]
    assert len(queries) == 1


@pytest.mark.parametrize("alias", DATABASE_ALIASES, indirect=True)
def test_a_rollback_takes_nothing_back_and_revives_nothing(store, alias, key):
    database = alias.removeprefix("database_")
    store.set(key + "popped", "1")
    store.set(key + "kept", "1")

    answers = []
    with transaction.atomic(using=database):
        store.set(key + "set", "2")
        store.add(key + "added", "2")
        answers += [store.pop(key + "popped"), store.get(key + "kept")]
        answers.append(store.step(COUNT, [key], [60_000]))
        answers.append(store.step(COUNT, [key, key + "b"], [60_000], slot="s"))
        answers.append(store.delete("missing"))
        transaction.set_rollback(True, using=database)
    after = [store.get(key + name) for name in ("set", "added", "popped", "kept", "")]
    assert answers == ["1", "1", [1], [1, 1], False]
    if joins_transactions(alias):
        assert after == [None, None, "1", "1", None]
    else:
        assert after == ["2", "2", None, "1", "1"]


TEXT = st.text(st.characters(), max_size=40)


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=TEXT, value=TEXT)
def test_whatever_is_set_is_popped(store, key, name, value):
    store.set(key + name, value, 60)
    assert store.get(key + name) == value
    assert store.pop(key + name) == value
    assert store.get(key + name) is None


def test_the_table_says_which_engine(alias):
    engines = {"default": "memory", "redis": "redis", "django_redis_cache": "redis"}
    assert engine_of(alias) == engines.get(alias, "portable")
