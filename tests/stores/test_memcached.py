"""Locks of memcached entries that end before their holder does."""

from __future__ import annotations

import gc
import os
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import time_machine
from django.conf import settings

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.stores import Outcome, Write, get_store
from tests.stores.servers import cache, running
from tests.stores.steps import COUNT, TestStep

LONGER_THAN_A_LOCK = 6


@pytest.fixture(params=["pymemcache", "pylibmc"])
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def stopped_once(meanwhile: Callable[[], Any]) -> TestStep:
    """Add one to each key; ``meanwhile`` happens between the first reading and its writing."""
    pending = [meanwhile]

    def twin(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
        outcome = COUNT.twin(values, now, args)
        while pending:
            pending.pop()()
        return outcome

    return TestStep("count", twin)


def removed(store: Any, key: str) -> Any:
    """Lose one entry as a server does whose memory is full."""
    removed = store._cache._cache.delete(store._name(key, "s"))
    store._cache.close()
    return removed


@pytest.mark.parametrize("sizes", [(1, 2**20), (2**20, 1)])
def test_a_step_with_one_value_that_is_too_large_writes_none(store, key, sizes):
    def twin(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
        writes = {n: Write("x" * size, 60_000) for n, size in enumerate(sizes)}
        return Outcome([], writes)

    keys = [key, key + "b"]
    for each in keys:
        store.set(each, "before", 60, slot="s")
    with pytest.raises(ValueError, match="too large"):
        store.step(TestStep("none", twin), keys, slot="s")
    assert [store.pop(each, slot="s") for each in keys] == ["before"] * 2


def test_a_lock_whose_holder_died_ends_by_itself(store, key):
    store.set(key, "value", 60, slot="s")
    names = [store._name(key, "s"), store._name(key + "b", "s")]
    with time_machine.travel(time.time() - LONGER_THAN_A_LOCK + 1.5):
        assert store._hold(names, "dead") is not None
    assert store.add(key + "b", "1", 60, slot="s")
    assert store.pop(key, slot="s") == "value"


def test_whoever_was_stopped_for_longer_than_the_lock_starts_again(store, key):
    keys = [key, key + "b"]
    with time_machine.travel(time.time(), tick=False) as clock:

        def meanwhile() -> None:
            clock.shift(LONGER_THAN_A_LOCK)
            store.set(key, "10", 60, slot="s")

        assert store.step(stopped_once(meanwhile), keys, [60_000], slot="s") == [11, 1]


def test_a_step_that_raises_lets_go_of_the_locks(store, key):
    def meanwhile() -> None:
        raise ZeroDivisionError

    keys = [key, key + "b"]
    with time_machine.travel(time.time(), tick=False):
        with pytest.raises(ZeroDivisionError):
            store.step(stopped_once(meanwhile), keys, [60_000], slot="s")
        assert store.step(COUNT, keys, [60_000], slot="s") == [1, 1]


def test_a_step_whose_first_entry_is_lost_meanwhile_starts_again(store, key):
    store.set(key, "5", 60, slot="s")
    step = stopped_once(lambda: removed(store, key))
    assert store.step(step, [key, key + "b"], [60_000], slot="s") == [1, 1]


def test_a_step_that_was_done_by_half_says_so(store, key):
    step = stopped_once(lambda: removed(store, key + "b"))
    with pytest.raises(StoreUnavailableError, match="half-way"):
        store.step(step, [key, key + "b"], [60_000], slot="s")
    # Nothing stays locked.
    with time_machine.travel(time.time(), tick=False):
        assert store.step(COUNT, [key, key + "b"], [60_000], slot="s") == [2, 1]


def test_a_step_on_one_key_sees_what_came_in_between(store, key):
    step = stopped_once(lambda: store.set(key, "10", 60))
    assert store.step(step, [key], [60_000]) == [11]


def test_a_value_that_is_refused_leaves_no_connection_open(store, key):
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"):
            store.set(key, "x" * 2**20)
    # What is collected while it is open warns, and a warning is a failure.
    gc.collect()


def test_whoever_reads_many_waits_for_a_step(store, key):
    keys = [key, key + "b"]
    store.step(COUNT, keys, [60_000], slot="s")
    names = [store._name(each, "s") for each in keys]
    with time_machine.travel(time.time() - LONGER_THAN_A_LOCK + 1.5):
        assert store._hold(names, "dead") is not None
    begun = time.monotonic()
    assert store.get_many(keys, slot="s") == ["1", "1"]
    assert time.monotonic() - begun > 0.2


def test_many_are_read_from_several_servers(alias, key, keys):
    first = settings.CACHES[alias]["LOCATION"]
    with running("memcached") as second, cache(alias, LOCATION=[first, second.url]):
        store = get_store(alias)
        names = keys(20)
        for name in names[1:]:
            store.set(name, name, 60, slot="s")
        assert store.get_many(names, slot="s") == [None, *names[1:]]
        store.close()


@pytest.mark.parametrize("alias", ["pymemcache"])
def test_a_key_that_stays_busy_is_an_error_in_the_end(store, key):
    def twin(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
        store.set(key, "10", 60)
        return COUNT.twin(values, now, args)

    with pytest.raises(StoreBusyError):
        store.step(TestStep("count", twin), [key], [60_000])


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


class Liar(socketserver.StreamRequestHandler):
    """A memcached that finds nothing of what it says is there."""

    def handle(self) -> None:
        for line in self.rfile:
            if line.startswith((b"get ", b"gets ")):
                self.wfile.write(b"END\r\n")
            elif line.startswith(b"cas "):
                self.rfile.read(int(line.split()[4]) + 2)
                self.wfile.write(b"EXISTS\r\n")


@pytest.mark.parametrize("alias", ["pylibmc"])
def test_a_miss_that_the_server_does_not_confirm_is_an_error(alias):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Liar) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address
        with cache(alias, LOCATION=f"{host}:{port}"):
            store = get_store(alias)
            with pytest.raises(StoreUnavailableError, match="does not see"):
                store.get("key")
            with pytest.raises(StoreUnavailableError, match="does not see"):
                store.get_many(["a", "b"], slot="s")
            store.close()
        server.shutdown()
