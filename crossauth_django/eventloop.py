"""Lets synchronous storage code be called on a running event loop, or apart from a transaction.

cross-auth 0.12's handlers are coroutines that call the storages directly. Django's ORM refuses
to work there (``SynchronousOnlyOperation``), and rightly so: the work goes to a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections
from django.views.decorators.debug import sensitive_variables

from crossauth_django.forks import at_fork

P = ParamSpec("P")
R = TypeVar("R")

# Few and shared: each thread keeps database connections of its own.
_THREADS = 4


def is_loop_running() -> bool:
    """Say whether this thread is inside a running event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def off_loop(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` on a worker thread when it is called on a running event loop.

    The caller waits, and the loop with it, as it would in any synchronous call. Elsewhere the
    function is called as it is, on the caller's thread, connection and transaction.
    """

    # The arguments may be provider tokens, which no error report must show.
    @sensitive_variables("args", "kwargs")
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_loop_running():
            return function(*args, **kwargs)

        # Nor a functools.partial, whose repr has them in it.
        @sensitive_variables("args", "kwargs")
        def call() -> R:
            return function(*args, **kwargs)

        return _run_on(_outer(), call)

    return wrapper


def on_worker(function: Callable[[], R]) -> R:
    """Run ``function`` on a worker thread and wait: its connections are in no transaction.

    ``function`` may be called from an ``off_loop`` one, but calls none of the two itself: these
    threads are others than those of ``off_loop``, so that nobody waits for himself.
    """
    return _run_on(_inner(), function)


def _run_on(threads: ThreadPoolExecutor, call: Callable[[], R]) -> R:
    context = contextvars.copy_context()
    return threads.submit(context.run, _with_fresh_connections, call).result()


@functools.cache
def _outer() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="crossauth-loop")


@functools.cache
def _inner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="crossauth-apart")


def _forget_threads() -> None:
    _outer.cache_clear()
    _inner.cache_clear()


# Threads do not live on in a forked worker (gunicorn --preload); its first call makes new ones.
at_fork(after_in_child=_forget_threads)


def _with_fresh_connections(call: Callable[[], R]) -> R:
    # No request starts or ends on these threads, so nothing else honours CONN_MAX_AGE here.
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
