"""Races with a barrier: in threads, and in processes that live as long as the test run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing.connection import Connection
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections


def run_together(
    threads: int, function: Callable[[], Any], *, seconds: float = 120
) -> list[Any]:
    """Call ``function`` in ``threads`` threads at the same moment; return what each returned.

    An exception is returned in the place of a result. Each thread closes its database
    connections and caches. Raise ``TimeoutError`` when one has not ended after ``seconds``: its
    None would look like a result.
    """
    barrier = threading.Barrier(threads)
    results: list[Any] = [None] * threads

    def work(position: int) -> None:
        try:
            barrier.wait(60)
            results[position] = function()
        except Exception as error:  # noqa: BLE001  (handed to the test)
            results[position] = error
        finally:
            connections.close_all()
            caches.close_all()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0, deadline - time.monotonic()))
    if any(worker.is_alive() for worker in workers):
        raise TimeoutError("a thread does not end")
    return results


# A call that blocks the loop leaves it one turn, however long that takes.
_TURNS = 3


def ticks_during(call: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, Any]:
    """Await ``call()``, which waits in vain; return how often its loop turned, and the outcome.

    A machine that stands still for a while looks like a loop that is blocked, so the most of
    three times counts.
    """
    for _ in range(3):
        ticks, outcome = asyncio.run(_turns(call, lambda: None))
        if ticks >= _TURNS:
            break
    return ticks, outcome


def turns_until(
    call: Callable[[], Coroutine[Any, Any, Any]], release: Callable[[], object]
) -> int:
    """Await ``call()`` and let ``release`` end its wait when the loop has turned; return how often."""
    ticks, _outcome = asyncio.run(_turns(call, release))
    return ticks


async def _turns(
    call: Callable[[], Coroutine[Any, Any, Any]], release: Callable[[], object]
) -> tuple[int, Any]:
    task = asyncio.create_task(call())
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
        if ticks == _TURNS:
            release()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    await sync_to_async(connections.close_all)()
    return ticks, outcome


class Crew:
    """Processes that run one importable function together, as often as asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(size)
        self._pipes: list[Connection] = []
        self._processes = []
        names = {
            alias: connections[alias].settings_dict["NAME"] for alias in connections
        }
        with _environment(CROSSAUTH_TEST_DATABASE_NAMES=json.dumps(names, default=str)):
            for _ in range(size):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work, args=(theirs, self._barrier), daemon=True
                )
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)

    def run(
        self, function: Callable[..., Any], *args: Any, threads: int = 1
    ) -> list[Any]:
        """Call ``function(*args)`` in every process, in ``threads`` threads each.

        The function is a module's own, so that the processes can import it. The results of all
        threads of all processes come as one list, exceptions in the place of results.
        """
        for pipe in self._pipes:
            pipe.send((function, args, threads))
        results: list[Any] = []
        for pipe in self._pipes:
            if not pipe.poll(240):
                raise TimeoutError("a process of the crew does not answer")
            results += pipe.recv()
        return results

    def close(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
            pipe.close()
        for process in self._processes:
            process.join(30)
            if process.is_alive():
                # It hangs in a test that has failed; its name is in the report.
                process.kill()
                process.join()
            process.close()


def _work(pipe: Connection, barrier: Any) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    while (job := pipe.recv()) is not None:
        function, args, threads = job
        barrier.wait(60)
        if threads == 1:
            results = [_outcome(function, args)]
            connections.close_all()
        else:
            results = run_together(threads, lambda f=function, a=args: f(*a))
        pipe.send([_picklable(result) for result in results])


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001  (handed to the test)
        return error


def _picklable(result: Any) -> Any:
    if isinstance(result, Exception):
        # Some exceptions lose their arguments, or cannot be pickled at all.
        return RuntimeError(f"{type(result).__name__}: {result}")
    return result


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
