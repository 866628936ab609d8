from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import pytest
import redis as driver
from django.conf import settings

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.stores import get_store
from tests.concurrency import run_together
from tests.stores.servers import cache, clustered, sentinel
from tests.stores.steps import COUNT
from tests.stores.test_outages import OPERATIONS, outcome_of


@pytest.fixture(params=["redis", "django_redis_cache"])
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def raw(alias: str) -> Any:
    with driver.Redis.from_url(settings.CACHES[alias]["LOCATION"]) as client:
        yield client


def commands_of(raw: Any, call: Any) -> list[str]:
    """Return what the server was sent during ``call``, without what scripts do there."""
    marker = f"end of {id(call)}"
    with raw.monitor() as monitor:
        call()
        raw.echo(marker)
        commands = []
        while marker not in (said := monitor.next_command())["command"]:
            if said["client_type"] != "lua":
                commands.append(said["command"].split(" ")[0])
    # What a new connection introduces itself with is no part of an operation.
    return [name for name in commands if name not in ("HELLO", "SELECT", "CLIENT")]


def test_each_operation_is_one_command(store, key, raw):
    # Connected, and the script known.
    store.step(COUNT, [key], [60_000])
    sent = commands_of(
        raw,
        lambda: [
            store.set(key, "1"),
            store.set(key, "1", 60),
            store.set(key, "1", 0),
            store.add(key, "1"),
            store.add(key, "1", 60),
            store.add(key, "1", 0),
            store.get(key),
            store.get_many([key], slot=""),
            store.get_many([key, key + "b"], slot="s"),
            store.get_many([], slot="s"),
            store.step(COUNT, [key], [60_000]),
            store.pop(key),
            store.delete(key),
            store.step(COUNT, [key, key + "b"], [60_000], slot="s"),
        ],
    )
    assert " ".join(sent) == (
        "SET SET DEL SET SET EXISTS GET MGET MGET EVALSHA GETDEL DEL EVALSHA"
    )


def test_a_script_that_the_server_forgot_is_sent_once_more(store, key, raw):
    raw.script_flush()
    sent = commands_of(raw, lambda: store.step(COUNT, [key], [60_000]))
    assert sent == ["EVALSHA", "EVAL"]
    assert store.get(key) == "1"


def test_lifetimes_are_exact_to_the_millisecond(store, alias, key, raw):
    raw.flushdb()
    store.set(key, "value", 12.345)
    (name,) = raw.keys("*")
    assert 12_000 < raw.pttl(name) <= 12_345
    store.set(key, "value")
    assert raw.pttl(name) == -1
    store.delete(key)


def test_keys_are_digests_at_rest_and_values_plain_text(alias, store, key, raw):
    raw.flushdb()
    store.set("the code itself", "välue", 60, slot="user@example.com")
    (name,) = raw.keys("*")
    assert b"code" not in name
    assert b"example" not in name
    assert len(name) < 70
    assert raw.get(name) == "välue".encode()


def test_a_slot_is_a_hash_tag_of_a_cluster(alias, store, key, raw):
    raw.flushdb()
    store.step(COUNT, ["a", "b", "c"], [60_000], slot="one")
    store.set("a", "1", slot="two")
    tags = {name.decode().partition("{")[2].partition("}")[0] for name in raw.keys("*")}
    assert len(tags) == 2


def test_all_threads_share_one_client(alias):
    assert len({id(get_store(alias)._client) for _ in range(3)}) == 1
    clients = run_together(8, lambda: id(get_store(alias)._client))
    assert set(clients) == {id(get_store(alias)._client)}


def test_the_clients_pool_is_not_the_sites(alias):
    from django.core.cache import caches

    if alias == "redis":
        theirs = caches[alias].client.get_client().connection_pool
    else:
        theirs = caches[alias]._cache.get_client().connection_pool
    assert get_store(alias)._client.connection_pool is not theirs


def test_a_site_that_decodes_answers_changes_nothing(alias, key):
    options = dict(settings.CACHES[alias]["OPTIONS"])
    if alias == "redis":
        options["CONNECTION_POOL_KWARGS"] = {"decode_responses": True}
    else:
        options["decode_responses"] = True
    with cache(alias, OPTIONS=options):
        store = get_store(alias)
        store.set(key, "lone \ud800", 60)
        assert store.pop(key) == "lone \ud800"
        assert store.step(COUNT, [key], [60_000]) == [1]
        assert store.get_many([key], slot="") == ["1"]


def test_what_a_site_does_with_a_new_connection_is_done(alias, key):
    greeted = []

    def greet(connection: Any) -> None:
        connection.on_connect()
        greeted.append(connection)

    options = dict(settings.CACHES[alias]["OPTIONS"])
    if alias == "redis":
        options["CONNECTION_POOL_KWARGS"] = {"redis_connect_func": greet}
    else:
        options["redis_connect_func"] = greet
    with cache(alias, OPTIONS=options):
        store = get_store(alias)
        store.set(key, "value", 60)
        assert store.pop(key) == "value"
        assert len(greeted) == store.connections_made == 1


@pytest.mark.parametrize(
    "pool", ["redis.ConnectionPool", "redis.BlockingConnectionPool"]
)
def test_a_pool_that_has_no_connection_left_is_busy_and_no_outage(alias, key, pool):
    kwargs: dict[str, Any] = {"max_connections": 1}
    if "Blocking" in pool:
        kwargs["timeout"] = 0.1
    options = {"CONNECTION_POOL_CLASS": pool, "CONNECTION_POOL_KWARGS": kwargs}
    if alias == "django_redis_cache":
        options = {"pool_class": pool, **kwargs}
    with cache(alias, OPTIONS=options):
        store = get_store(alias)
        taken = store._client.connection_pool.get_connection()
        with pytest.raises(StoreBusyError):
            store.step(COUNT, [key], [60_000])
        store._client.connection_pool.release(taken)
        assert store.step(COUNT, [key], [60_000]) == [1]


def test_reading_asks_the_primary_too(alias, key):
    location = settings.CACHES[alias]["LOCATION"]
    with cache(alias, LOCATION=[location, "redis://127.0.0.1:1/0"]):
        store = get_store(alias)
        store.set(key, "value", 60)
        assert [store.get(key) for _ in range(10)] == ["value"] * 10


def test_a_store_of_a_replaced_configuration_lets_go_of_its_connections(
    alias, raw, key
):
    store = get_store(alias)
    store.set(key, "value", 60)
    pool = store._client.connection_pool
    with cache(alias, KEY_PREFIX="other"):
        assert get_store(alias) is not store
    assert not any(connection._sock for connection in pool._available_connections)
    # Who still holds it can go on.
    assert store.get(key) == "value"


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_uses_connections_of_its_own(store, key):
    store.set(key, "0", 60)
    child = os.fork()
    if child == 0:
        try:
            for _ in range(50):
                store.step(COUNT, [key], [60_000])
        finally:
            os._exit(0)
    for _ in range(50):
        store.step(COUNT, [key], [60_000])
    os.waitpid(child, 0)
    assert store.get(key) == "100"


def test_a_cluster_is_followed():
    with clustered():
        store = get_store("redis")
        for number in range(20):
            store.set(f"key-{number}", str(number), 60)
        assert [store.pop(f"key-{n}") for n in range(20)] == [str(n) for n in range(20)]
        for number in range(20):
            store.set(f"key-{number}", str(number), 60)
        store.delete_many([(f"key-{number}", "") for number in range(19)])
        assert [store.get(f"key-{n}") for n in (0, 18, 19)] == [None, None, "19"]
        for slot in "abcdef":
            assert store.step(COUNT, ["a", "b"], [60_000], slot=slot) == [1, 1]
            assert store.get_many(["b", "c", "a"], slot=slot) == ["1", None, "1"]
        store.close()


def test_a_cluster_that_dies_is_not_a_missing_key():
    with clustered() as nodes:
        store = get_store("redis")
        for number in range(20):
            store.set(f"key-{number}", "value", 60)
        nodes[1].kill()
        outcomes = {outcome_of(store, f"key-{number}") for number in range(20)}
        assert outcomes == {"value", "unavailable"}
        nodes[0].kill()
        with cache("redis", KEY_PREFIX="not connected yet"):
            for each in (store, get_store("redis")):
                for operation in OPERATIONS.values():
                    with pytest.raises(StoreUnavailableError):
                        operation(each)
        store.close()


def test_a_sentinel_leads_to_the_next_primary():
    with sentinel() as (primary, port):
        options = {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [("127.0.0.1", port)],
            "SOCKET_TIMEOUT": 2,
            "IGNORE_EXCEPTIONS": True,
        }
        with cache("redis", LOCATION="redis://main/0", OPTIONS=options):
            store = get_store("redis")
            store.set("key", "value", 600)
            assert store.step(COUNT, ["count"], [60_000]) == [1]
            store._client.wait(1, 5000)
            primary.kill()
            assert eventually(lambda: store.get("key")) == "value"
            assert store.pop("key") == "value"
            store.close()


def eventually(call: Any) -> Any:
    """Return what ``call`` returns once the failover is done; until then it must raise."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(StoreUnavailableError):
            return call()
        time.sleep(0.05)
    raise AssertionError("no failover")
