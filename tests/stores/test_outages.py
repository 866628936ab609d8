"""An outage is an error, whatever the driver would rather say."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.db import OperationalError, connections, transaction

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.stores import Store, get_store
from tests import services
from tests.concurrency import run_together
from tests.stores.conftest import DATABASE_ALIASES
from tests.stores.servers import (
    Server,
    cache,
    outcome_during,
    running,
    unread_bytes,
)
from tests.stores.steps import COUNT

TIMEOUT = 0.5


def patient(alias: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What each driver is told here: wait at most this long, and hide errors where it can."""
    options: dict[str, dict[str, Any]] = {
        "redis": {
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_TIMEOUT": timeout,
            "SOCKET_CONNECT_TIMEOUT": timeout,
            "CONNECTION_POOL_KWARGS": {"retry_on_timeout": True},
        },
        "django_redis_cache": {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry_on_timeout": True,
        },
        "pymemcache": {
            "timeout": timeout,
            "connect_timeout": timeout,
            "ignore_exc": True,
        },
        "pylibmc": {
            "behaviors": {"_poll_timeout": int(timeout * 1000), "auto_eject": True}
        },
    }
    return options[alias]


SERVED = ["redis", "django_redis_cache", "pymemcache", "pylibmc"]
OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.set("key", "value", 60),
    "add": lambda store: store.add("key", "value", 60),
    "get": lambda store: store.get("key"),
    "get many": lambda store: store.get_many(["a", "b"], slot="s"),
    "delete": lambda store: store.delete("key"),
    "delete many": lambda store: store.delete_many([("key", "")]),
    "pop": lambda store: store.pop("key"),
    "step": lambda store: store.step(COUNT, ["key"], [60_000]),
    "step over two": lambda store: store.step(COUNT, ["a", "b"], [60_000], slot="s"),
}


@pytest.fixture(params=SERVED)
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(alias: str) -> Iterator[Server]:
    name = "memcached" if "memc" in alias or "libmc" in alias else "redis"
    with running(name) as server:
        options = {**settings.CACHES[alias].get("OPTIONS", {}), **patient(alias)}
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
        ("CONFIG SET requirepass secret", "get many"),
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


@pytest.mark.parametrize("alias", ["redis", "django_redis_cache"])
def test_a_redis_that_cannot_save_is_not_a_missing_key(server, alias):
    store = get_store(alias)
    store.set("key", "1")
    client = store._client
    client.execute_command("CONFIG", "SET", "save", "3600 1")
    # Where its file should be stands a folder that is not empty.
    (server.folder / "dump.rdb" / "x").mkdir(parents=True)
    client.execute_command("BGSAVE")
    server.wait_until(lambda: client.info()["rdb_last_bgsave_status"] == "err")
    for operation in ("set", "add", "delete", "pop", "step"):
        with pytest.raises(StoreUnavailableError, match="MISCONF"):
            OPERATIONS[operation](store)
    assert store.get("key") == "1"


@pytest.mark.parametrize("alias", ["redis", "django_redis_cache"])
def test_a_redis_that_still_loads_is_not_a_missing_key(server, alias):
    store = get_store(alias)
    store.set("key", "value")
    # It looks up from its work every two megabytes: after each of these.
    for number in range(25):
        store.set(f"key-{number}", "x" * 2_200_000)
    client = store._client
    client.execute_command("CONFIG", "SET", "rdbcompression", "no")
    client.execute_command("SAVE")
    server.kill()
    server.spawn(*server.process.args, "--key-load-delay", "200000")
    server.wait_until(lambda: services._answers(server.port))
    for operation in ("get", "get many", "pop", "step"):
        with pytest.raises(StoreUnavailableError, match=r"(?i)loading"):
            OPERATIONS[operation](store)
    server.wait_until(lambda: outcome_of(store, "key") != "unavailable")
    assert store.get("key") == "value"


@pytest.mark.parametrize("alias", ["pymemcache", "pylibmc"])
def test_a_dead_memcached_of_several_hands_its_keys_to_no_other(server, alias):
    with running("memcached") as second:
        location = [server.url, second.url]
        with cache(alias, LOCATION=location, OPTIONS=patient(alias)):
            store = get_store(alias)
            for number in range(20):
                store.set(f"key-{number}", "value")
            second.kill()
            outcomes = {outcome_of(store, f"key-{number}") for number in range(20)}
            with pytest.raises(StoreUnavailableError):
                store.get_many([f"key-{number}" for number in range(20)], slot="s")
    assert outcomes == {"value", "unavailable"}


def outcome_of(store: Store, key: str) -> str | None:
    try:
        return store.get(key)
    except StoreUnavailableError:
        return "unavailable"


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_a_database_that_is_gone_is_not_a_missing_key(request, alias, monkeypatch):
    name = running_database(alias)
    monkeypatch.setitem(connections.settings[name], "PORT", "1")
    for operation in OPERATIONS.values():
        (outcome,) = run_together(1, lambda do=operation: do(get_store(alias)))
        assert isinstance(outcome, StoreUnavailableError)


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_a_connection_that_the_database_ends_is_not_a_missing_key(alias):
    name = running_database(alias)
    store = get_store(alias)
    store.set("key", "1")
    connection = connections[name]
    table = connection.ops.quote_name(f"cache_{name}")
    for operation in ["set", "delete", "step"]:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table} SET expires = expires")
            outcome = outcome_when_ended(
                cursor, lambda do=OPERATIONS[operation]: do(get_store(alias))
            )
            cursor.execute("ROLLBACK")
        assert isinstance(outcome, StoreUnavailableError)
        assert store.get("key") == "1"


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_tidying_up_that_fails_is_no_failure_of_the_write(alias, key):
    name = running_database(alias)
    with time_machine.travel(time.time() - 60):
        get_store(alias).set(key, "expired", 1)
    table = connections[name].ops.quote_name(f"cache_{name}")

    def write() -> list[str | None]:
        store = get_store(alias)
        for number in range(64):
            store.set(f"{key}-{number}", "value", 60)
        return [store.get(f"{key}-{number}") for number in range(64)]

    with connections[name].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {table} SET expires = expires WHERE expires < now()")
        outcome = outcome_when_ended(cursor, write)
        cursor.execute("ROLLBACK")
    assert outcome == ["value"] * 64


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_a_step_that_the_database_sacrifices_to_a_deadlock_is_done_again(alias, key):
    name = running_database(alias)
    store = get_store(alias)
    keys = [key, key + "b"]
    assert store.step(COUNT, keys, [60_000], slot="s") == [1, 1]
    first, second = sorted(store._name(each, "s") for each in keys)
    table = connections[name].ops.quote_name(f"cache_{name}")
    lock = f"UPDATE {table} SET expires = expires WHERE cache_key = %s"
    with connections[name].cursor() as cursor:

        def close_the_circle() -> None:
            with contextlib.suppress(OperationalError):
                cursor.execute(lock, [first])
                sacrificed.append("the step")
            cursor.execute("ROLLBACK")

        # PostgreSQL gives up whoever has waited for a second when it looks: where that second
        # is over before the circle is closed, that is us.
        for count in (2, 3, 4):
            sacrificed: list[str] = []
            cursor.execute("BEGIN")
            # Whoever has written more is not the one that is given up.
            for number in range(20):
                values = [f"{key}-{number}", "", "2026-01-01"]
                cursor.execute(f"INSERT INTO {table} VALUES (%s, %s, %s)", values)
            cursor.execute(lock, [second])
            outcome = outcome_during(
                close_the_circle,
                lambda: store.step(COUNT, keys, [60_000], slot="s"),
                until=lambda: waiting(cursor) != [],
            )
            assert outcome == [count, count]
            if sacrificed:
                break
    assert sacrificed


@pytest.mark.parametrize("alias", DATABASE_ALIASES)
def test_rows_that_others_hold_for_too_long_are_busy_and_no_outage(alias, key):
    name = running_database(alias)
    get_store(alias).step(COUNT, [key], [60_000])

    def impatient() -> Any:
        if connections[name].vendor == "sqlite":
            with connections[name].cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout = 100")
        return get_store(alias).step(COUNT, [key], [60_000])

    with transaction.atomic(using=name), connections[name].cursor() as cursor:
        table = connections[name].ops.quote_name(f"cache_{name}")
        cursor.execute(f"UPDATE {table} SET expires = expires")
        (outcome,) = run_together(1, impatient)
    assert isinstance(outcome, StoreBusyError)
    assert get_store(alias).step(COUNT, [key], [60_000]) == [2]


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:])
def test_an_add_that_waited_for_another_sees_what_that_one_wrote(alias, key):
    name = running_database(alias)
    store = get_store(alias)
    with time_machine.travel(time.time() - 60):
        store.set(key, "expired", 50)
    store.set(key + "theirs", "theirs", 60)
    table = connections[name].ops.quote_name(f"cache_{name}")
    with connections[name].cursor() as cursor:
        columns = f"SELECT value, expires FROM {table} WHERE cache_key = %s"
        cursor.execute(columns, [store._name(key + "theirs", "")])
        theirs = cursor.fetchone()
        cursor.execute("BEGIN")
        cursor.execute(
            f"UPDATE {table} SET value = %s, expires = %s WHERE cache_key = %s",
            [*theirs, store._name(key, "")],
        )
        outcome = outcome_during(
            lambda: cursor.execute("COMMIT"),
            lambda: store.add(key, "ours", 60),
            until=lambda: waiting(cursor) != [],
        )
    assert outcome is False
    assert store.get(key) == "theirs"


@pytest.mark.parametrize("alias", DATABASE_ALIASES)
@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_missing_table_is_not_a_missing_key(alias, is_atomic):
    name = running_database(alias)
    inside = transaction.atomic(using=name) if is_atomic else contextlib.nullcontext()
    with cache(alias, LOCATION="no_such_table"), inside:
        for operation in OPERATIONS.values():
            savepoint = transaction.atomic(using=name)
            hint = pytest.raises(StoreUnavailableError, match="createcachetable")
            with hint, savepoint:
                operation(get_store(alias))


@pytest.mark.parametrize("alias", DATABASE_ALIASES)
def test_a_name_longer_than_its_column_is_refused(alias, key):
    running_database(alias)
    with cache(alias, KEY_PREFIX="p" * 300):
        for operation in OPERATIONS.values():
            with pytest.raises(ValueError, match="cannot store"):
                operation(get_store(alias))


@pytest.mark.parametrize("alias", DATABASE_ALIASES[1:2])
def test_a_name_that_postgres_cannot_store_is_refused(alias):
    running_database(alias)
    with cache(alias, KEY_PREFIX="nul\0"):
        for operation in OPERATIONS.values():
            with pytest.raises(ValueError, match="cannot store"):
                operation(get_store(alias))


@pytest.mark.parametrize("alias", ["pymemcache", "pylibmc"])
def test_a_memcached_whose_memory_is_full_is_an_outage(alias):
    def full(service: services.Service) -> str:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        small = ["-M", "-m", "4", "-l", "127.0.0.1", "-p", str(service.port), *user]
        service.spawn(services.program("memcached"), *small)
        service.wait_until(lambda: services._answers(service.port))
        return f"127.0.0.1:{service.port}"

    server = services.Service("memcached", full)
    try:
        with cache(alias, LOCATION=server.url):
            store = get_store(alias)
            assert StoreUnavailableError in {fill(store, n) for n in range(20)}
            assert store.get("0") == "x" * 500_000
            store.close()
    finally:
        server.stop()


def fill(store: Store, number: int) -> Any:
    try:
        return store.set(str(number), "x" * 500_000, 60)
    except StoreUnavailableError as error:
        return type(error)


def running_database(alias: str) -> str:
    """Return the name of the database behind the cache alias."""
    if alias not in settings.CACHES and "CI" not in os.environ:
        pytest.skip(f"nothing runs behind {alias}")
    return alias.removeprefix("database_")


def waiting(cursor: Any) -> list[int]:
    """Return the ids of connections to this database that wait for a lock.

    Other test processes have databases of their own on the server.
    """
    if cursor.db.vendor == "postgresql":
        # What waits for a transaction has no database; the table that it has open has.
        cursor.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND pid IN (SELECT l.pid FROM pg_locks l"
            " JOIN pg_database d ON d.oid = l.database WHERE datname = current_database())"
        )
    else:
        # The list is made anew only when nobody has read it for 0.1 s.
        time.sleep(0.15)
        cursor.execute(
            "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
            " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
            " WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()"
        )
    return [row[0] for row in cursor.fetchall()]


def outcome_when_ended(cursor: Any, call: Callable[[], Any]) -> Any:
    """Start ``call``, end the connection on which it waits, and return what came of it."""
    is_over = threading.Event()

    def work() -> Any:
        try:
            return call()
        finally:
            is_over.set()

    def end() -> None:
        # MariaDB's list may be old: what is on it may be another call's.
        while not is_over.wait(0.1):
            end_waiting(cursor)

    return outcome_during(end, work, until=lambda: waiting(cursor) != [])


def end_waiting(cursor: Any) -> None:
    for number in waiting(cursor):
        if cursor.db.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [number])
        else:
            # It may have ended meanwhile.
            with contextlib.suppress(OperationalError):
                cursor.execute(f"KILL CONNECTION {number}")
