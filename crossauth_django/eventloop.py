"""Lets synchronous storage code be called on a running event loop.

cross-auth 0.12's handlers are coroutines that call the storages directly. Django's ORM refuses
to work there (``SynchronousOnlyOperation``), and rightly so: the work goes to a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

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

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_loop_running():
            return function(*args, **kwargs)
        context = contextvars.copy_context()
        call = functools.partial(function, *args, **kwargs)
        return _executor().submit(context.run, _with_fresh_connections, call).result()

    return wrapper


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="crossauth")


# Threads do not live on in a forked worker (gunicorn --preload); its first call makes new ones.
os.register_at_fork(after_in_child=_executor.cache_clear)


def _with_fresh_connections(call: Callable[[], R]) -> R:
    # No request starts or ends on these threads, so nothing else honours CONN_MAX_AGE here.
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()
