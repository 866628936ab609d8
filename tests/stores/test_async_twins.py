"""An event loop goes on while a twin waits; the memory engine waits for nobody."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.stores import Store, get_store
from tests.concurrency import ticks_during, turns_until
from tests.stores.conftest import DATABASE_ALIASES
from tests.stores.servers import hanging
from tests.stores.steps import COUNT
from tests.stores.test_outages import SERVED, patient, running_database

TWINS: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.aset("key", "value", 60),
    "add": lambda store: store.aadd("key", "value", 60),
    "get": lambda store: store.aget("key"),
    "get_many": lambda store: store.aget_many(["a", "b"], slot="s"),
    "delete": lambda store: store.adelete("key"),
    "pop": lambda store: store.apop("key"),
    "step": lambda store: store.astep(COUNT, ["key"], [60_000]),
}


@pytest.mark.parametrize("alias", SERVED)
def test_the_loop_goes_on_while_an_async_twin_waits_for_a_server(alias):
    with hanging(alias, **patient(alias, 0.2)):
        for twin in TWINS.values():
            ticks, outcome = ticks_during(lambda do=twin: do(get_store(alias)))
            assert isinstance(outcome, StoreUnavailableError)
            assert ticks > 2


@pytest.mark.parametrize("alias", DATABASE_ALIASES)
def test_the_loop_goes_on_while_an_async_twin_waits_for_a_lock(alias):
    name = running_database(alias)
    for twin in ("set", "delete", "pop", "step"):
        get_store(alias).set("key", "1")
        with locked(name) as release:
            ticks = turns_until(lambda do=TWINS[twin]: do(get_store(alias)), release)
        assert ticks > 2


@contextlib.contextmanager
def locked(database: str) -> Iterator[Callable[[], object]]:
    """Lock the rows of the cache's table in another connection, until told, or for two seconds."""
    is_locked, is_released = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(using=database):
            table = connections[database].ops.quote_name(f"cache_{database}")
            with connections[database].cursor() as cursor:
                cursor.execute(f"UPDATE {table} SET expires = expires")
            is_locked.set()
            is_released.wait(2)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_locked.wait(30)
    yield is_released.set
    holder.join()
