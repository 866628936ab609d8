from __future__ import annotations

import asyncio
import contextvars
import os
import threading

import pytest
from django.db import connection, connections, transaction

from crossauth_django.eventloop import is_loop_running, off_loop, on_worker
from tests.concurrency import run_together


@off_loop
def where(*args: int, **kwargs: int) -> tuple[str, bool, object]:
    return threading.current_thread().name, is_loop_running(), (args, kwargs)


def test_without_a_loop_the_function_runs_on_the_callers_thread():
    assert where(1, two=2) == (
        threading.current_thread().name,
        False,
        ((1,), {"two": 2}),
    )


def test_on_a_loop_it_runs_on_a_worker_thread():
    async def handler() -> tuple[str, bool, object]:
        assert is_loop_running()
        return where(1, two=2)

    name, has_loop, arguments = asyncio.run(handler())
    assert name.startswith("crossauth-loop")
    assert (has_loop, arguments) == (False, ((1,), {"two": 2}))


def test_a_function_keeps_its_name_and_documentation():
    @off_loop
    def documented() -> None:
        """Says what it does."""

    assert (documented.__name__, documented.__doc__) == (
        "documented",
        "Says what it does.",
    )


def test_errors_reach_the_caller():
    @off_loop
    def fail() -> None:
        raise KeyError("gone")

    async def handler() -> None:
        fail()

    with pytest.raises(KeyError, match="gone"):
        asyncio.run(handler())


def test_context_variables_go_along():
    language = contextvars.ContextVar("language", default="en")
    read = off_loop(language.get)

    async def handler() -> str:
        language.set("de")
        return read()

    assert asyncio.run(handler()) == "de"


def test_nested_calls_run_on_one_worker():
    @off_loop
    def outer() -> tuple[str, str]:
        return threading.current_thread().name, where()[0]

    async def handler() -> tuple[str, str]:
        return outer()

    names = asyncio.run(handler())
    assert names[0] == names[1]


def test_many_loops_with_work_apart_never_wait_for_themselves():
    @off_loop
    def outer() -> str:
        return on_worker(lambda: threading.current_thread().name)

    async def handler() -> str:
        return outer()

    names = run_together(16, lambda: asyncio.run(handler()))
    assert {name.rpartition("_")[0] for name in names} == {"crossauth-apart"}


def test_the_threads_are_few():
    async def handler() -> str:
        return where()[0]

    names = [
        name
        for _ in range(10)
        for name in run_together(8, lambda: asyncio.run(handler()))
    ]
    assert len(set(names)) <= 4


@pytest.mark.django_db(transaction=True)
def test_the_orm_can_be_used_on_a_loop():
    @off_loop
    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 42")
            return int(cursor.fetchone()[0])

    async def handler() -> int:
        return count()

    assert asyncio.run(handler()) == 42


@pytest.mark.django_db(transaction=True)
def test_a_workers_connection_is_in_no_transaction_and_closed_after():
    def state() -> tuple[bool, object]:
        in_transaction = connection.in_atomic_block
        connection.ensure_connection()
        return in_transaction, connections["default"]

    with transaction.atomic():
        in_transaction, workers = on_worker(state)
        assert connection.in_atomic_block
    assert not in_transaction
    assert workers is not connections["default"]
    assert workers.connection is None


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own():
    async def handler() -> str:
        return where()[0]

    asyncio.run(handler())
    on_worker(lambda: None)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = f"{asyncio.run(handler())} {on_worker(lambda: 'too')}"
            os.write(writes, answer.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        assert pipe.read() == "crossauth-loop_0 too"
