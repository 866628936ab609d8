"""An event loop goes on while a twin waits; the memory engine waits for nobody."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.stores import Store, get_store
from tests.concurrency import ticks_during
from tests.stores.conftest import DATABASE_ALIASES
from tests.stores.servers import hanging
from tests.stores.steps import COUNT
from tests.stores.test_outages import SERVED, patient, running_database

TWINS: dict[str, Callable[[Store], Any]] = {
    "set": lambda store: store.aset("key", "value", 60),
    "add": lambda store: store.aadd("key", "value", 60),
    "get": lambda store: store.aget("key"),
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
        with locked_for(0.2, name):
            ticks, _ = ticks_during(lambda do=TWINS[twin]: do(get_store(alias)))
        assert ticks > 2


@contextlib.contextmanager
def locked_for(seconds: float, database: str) -> Iterator[None]:
    """Lock the rows of the cache's table in another connection, so long."""
    is_locked = threading.Event()

    def hold() -> None:
        with transaction.atomic(using=database):
            table = connections[database].ops.quote_name(f"cache_{database}")
            with connections[database].cursor() as cursor:
                cursor.execute(f"UPDATE {table} SET expires = expires")
            is_locked.set()
            time.sleep(seconds)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_locked.wait(30)
    yield
    holder.join()
