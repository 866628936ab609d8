from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.limits.budget import _TAKE
from crossauth_django.stores import Step, breaker, get_store
from tests.services import start
from tests.stores.servers import freeze

CALL = (_TAKE, ["key"], [1000, 1], "")


@pytest.fixture
def server(settings):
    server = start("redis")
    own = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": server.url,
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
    settings.CACHES = {**settings.CACHES, "own": own}
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    yield server
    get_store("own").close()
    server.stop()


def refused_at_once() -> bool:
    with pytest.raises(StoreUnavailableError) as caught:
        breaker.step(*CALL)
    return "a moment ago" in str(caught.value)


def test_one_caller_finds_out_and_the_next_are_refused_at_once(server):
    breaker.step(*CALL)
    server.stop(signal.SIGKILL)
    assert [refused_at_once() for _ in range(4)] == [False, True, True, True]


def test_after_a_second_one_asks_again_and_an_answer_ends_the_silence(server):
    freeze(server.process.pid)
    assert not refused_at_once()
    assert refused_at_once()
    time.sleep(breaker.PAUSE_SECONDS)
    assert [refused_at_once() for _ in range(2)] == [False, True]
    os.kill(server.process.pid, signal.SIGCONT)
    time.sleep(breaker.PAUSE_SECONDS)
    assert asyncio.run(breaker.astep(*CALL))[0] == 1
    assert breaker.step(*CALL)[0] == 1


def test_the_async_twin_is_refused_alike(server):
    server.stop(signal.SIGKILL)

    async def calls() -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await breaker.astep(*CALL)

    asyncio.run(calls())
    assert refused_at_once()


def test_a_forked_worker_finds_out_for_itself(server):
    server.stop(signal.SIGKILL)
    assert not refused_at_once()
    child = os.fork()
    if child == 0:
        os._exit(int(refused_at_once()))
    assert os.waitpid(child, 0)[1] == 0


def test_a_key_that_stays_busy_silences_nobody_else():
    def hold(values, now, arguments):
        raise StoreBusyError("the key stays busy")

    busy = (Step("busy", hold), ["busy"], [], "")
    for _ in range(2):
        with pytest.raises(StoreBusyError):
            breaker.step(*busy)
        with pytest.raises(StoreBusyError):
            asyncio.run(breaker.astep(*busy))
    assert breaker.step(*CALL)[0] == 1
