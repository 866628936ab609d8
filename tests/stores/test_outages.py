"""An outage is an error, whatever the driver would rather say."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connections

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.stores import Store, get_store
from tests.concurrency import run_together
from tests.stores.conftest import DATABASE_ALIASES
from tests.stores.servers import Server, cache, outcome_during, running, unread_bytes
from tests.stores.steps import COUNT

# What each driver is told here: wait at most this long, and hide errors where it can.
TIMEOUT = 0.5
OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {
        "IGNORE_EXCEPTIONS": True,
        "SOCKET_TIMEOUT": TIMEOUT,
        "SOCKET_CONNECT_TIMEOUT": TIMEOUT,
        "CONNECTION_POOL_KWARGS": {"retry_on_timeout": True},
    },
    "django_redis_cache": {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "retry_on_timeout": True,
    },
    "pymemcache": {"timeout": TIMEOUT, "connect_timeout": TIMEOUT, "ignore_exc": True},
    "pylibmc": {
        "behaviors": {"_poll_timeout": int(TIMEOUT * 1000), "auto_eject": True}
    },
}
OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.set("key", "value", 60),
    "add": lambda store: store.add("key", "value", 60),
    "get": lambda store: store.get("key"),
    "delete": lambda store: store.delete("key"),
    "pop": lambda store: store.pop("key"),
    "step": lambda store: store.step(COUNT, ["key"], [60_000]),
    "step over two": lambda store: store.step(COUNT, ["a", "b"], [60_000], slot="s"),
}


@pytest.fixture(params=list(OPTIONS))
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(alias: str) -> Iterator[Server]:
    name = "memcached" if "memc" in alias or "libmc" in alias else "redis"
    with running(name) as server:
        options = {**settings.CACHES[alias].get("OPTIONS", {}), **OPTIONS[alias]}
        with cache(alias, LOCATION=server.url, OPTIONS=options):
            yield server


def test_a_server_that_dies_in_mid_command_is_not_a_missing_key(server, alias):
    for operation in OPERATIONS.values():
        store = get_store(alias)
        store.set("key", "1")
        server.freeze()
        outcome = outcome_during(
            server.kill,
            lambda store=store, operation=operation: operation(store),
            until=lambda: unread_bytes(server.port) > 0,
        )
        assert isinstance(outcome, StoreUnavailableError)
        server.start_again()


def test_a_server_that_is_gone_is_not_a_missing_key(server, alias):
    store = get_store(alias)
    store.set("key", "1")
    server.kill()
    for operation in OPERATIONS.values():
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                operation(store)


def test_a_server_that_hangs_is_given_up_in_time(server, alias):
    store = get_store(alias)
    store.set("key", "1")
    server.freeze()
    start = time.monotonic()
    operations = ["set", "pop", "step over two"]
    for operation in operations:
        with pytest.raises(StoreUnavailableError):
            OPERATIONS[operation](store)
    # One wait each, and one more where a connection at rest could have been the trouble.
    assert time.monotonic() - start < TIMEOUT * (len(operations) + 1) + 5


def test_after_a_restart_the_next_call_works(server, alias):
    store = get_store(alias)
    # Several connections at rest, all of which die.
    run_together(4, lambda: store.set("key", "1"))
    server.kill()
    server.start_again()
    for operation in OPERATIONS.values():
        operation(store)
    assert store.get("key") == "1"
    assert store.step(COUNT, ["key"], [60_000]) == [2]


def test_a_step_whose_answer_is_lost_is_not_sent_again(server, alias):
    store = get_store(alias)
    assert store.step(COUNT, ["key"], [60_000]) == [1]
    server.freeze()
    with pytest.raises(StoreUnavailableError):
        store.step(COUNT, ["key"], [60_000])
    server.thaw()
    # Redis had the command already; memcached had only been asked to read.
    counted = 2 if "redis" in alias else 1
    assert store.step(COUNT, ["key"], [60_000]) == [counted + 1]


@pytest.mark.parametrize("alias", ["redis", "django_redis_cache"])
@pytest.mark.parametrize(
    ("command", "operation"),
    [
        ("CONFIG SET maxmemory 1", "set"),
        ("CONFIG SET min-replicas-to-write 3", "step"),
        ("REPLICAOF 127.0.0.1 1", "pop"),
        ("CONFIG SET requirepass secret", "get"),
    ],
)
def test_a_redis_that_refuses_is_not_a_missing_key(server, alias, command, operation):
    store = get_store(alias)
    store.set("key", "value")
    client = store._client
    client.execute_command(*command.split())
    client.connection_pool.disconnect()
    with pytest.raises(StoreUnavailableError):
        OPERATIONS[operation](store)


@pytest.mark.parametrize("alias", ["pymemcache", "pylibmc"])
def test_a_dead_memcached_of_several_hands_its_keys_to_no_other(server, alias):
    with running("memcached") as second:
        location = [server.url, second.url]
        with cache(alias, LOCATION=location, OPTIONS=OPTIONS[alias]):
            store = get_store(alias)
            for number in range(20):
                store.set(f"key-{number}", "value")
            second.kill()
            outcomes = {outcome_of(store, f"key-{number}") for number in range(20)}
    assert outcomes == {"value", "unavailable"}


def outcome_of(store: Store, key: str) -> str | None:
    try:
        return store.get(key)
    except StoreUnavailableError:
        return "unavailable"


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_a_database_that_is_gone_is_not_a_missing_key(request, alias, monkeypatch):
    if alias not in settings.CACHES and "CI" not in os.environ:
        pytest.skip(f"nothing runs behind {alias}")
    name = alias.removeprefix("database_")
    monkeypatch.setitem(connections.settings[name], "PORT", "1")
    for operation in OPERATIONS.values():
        (outcome,) = run_together(1, lambda do=operation: do(get_store(alias)))
        assert isinstance(outcome, StoreUnavailableError)


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_a_connection_that_the_database_ends_is_not_a_missing_key(alias):
    if alias not in settings.CACHES and "CI" not in os.environ:
        pytest.skip(f"nothing runs behind {alias}")
    name = alias.removeprefix("database_")
    store = get_store(alias)
    store.set("key", "1")
    connection = connections[name]
    table = connection.ops.quote_name(f"cache_{name}")
    for operation in ["set", "delete", "step"]:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table} SET expires = expires")
            outcome = outcome_during(
                lambda cursor=cursor: end_waiting(cursor),
                lambda do=OPERATIONS[operation]: do(get_store(alias)),
                until=lambda cursor=cursor: waiting(cursor) != [],
            )
            cursor.execute("ROLLBACK")
        assert isinstance(outcome, StoreUnavailableError)
        assert store.get("key") == "1"


def waiting(cursor: Any) -> list[int]:
    """Return the ids of connections that wait for a lock on the table."""
    if cursor.db.vendor == "postgresql":
        cursor.execute("SELECT pid FROM pg_locks WHERE NOT granted")
    else:
        # What runs for so long on an empty machine's few rows waits.
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE time_ms > 200"
            " AND info LIKE '%cache_mariadb%' AND id <> CONNECTION_ID()"
        )
    return [row[0] for row in cursor.fetchall()]


def end_waiting(cursor: Any) -> None:
    for number in waiting(cursor):
        if cursor.db.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [number])
        else:
            # The list is up to 0.1 s old: a connection on it may have ended.
            with contextlib.suppress(OperationalError):
                cursor.execute(f"KILL CONNECTION {number}")
