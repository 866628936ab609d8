from __future__ import annotations

import pytest
from redis import Redis

from crossauth_django import lockout
from crossauth_django.lockout.subjects import SLOT, key_of
from crossauth_django.stores import get_store
from tests.services import start

SUBJECTS = 2500


@pytest.fixture
def redis(settings):
    server = start("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    settings.CACHES = {**settings.CACHES, "own": own}
    settings.CROSSAUTH_CACHE_ALIAS = "own"
    with Redis.from_url(server.url) as redis:
        lockout.reserve("warm", "192.0.2.1")
        yield redis
    get_store("own").close()
    server.stop()


def bytes_each(redis, work) -> float:
    before = redis.info("memory")["used_memory"], redis.dbsize()
    work()
    after = redis.info("memory")["used_memory"], redis.dbsize()
    return (after[0] - before[0]) / (after[1] - before[1])


def test_a_counted_subject_takes_at_most_200_bytes(redis):
    def work() -> None:
        for number in range(SUBJECTS):
            lockout.reserve(f"name{number}", f"10.0.{number >> 8}.{number & 255}")

    assert bytes_each(redis, work) <= 200
    assert {redis.ttl(key) > 0 for key in redis.scan_iter()} == {True}


def test_a_locked_subject_takes_at_most_300_bytes(redis):
    moment = 1_790_000_000_000
    longest = f"5 {moment} {moment} 20 {moment} {moment} 5"

    def work() -> None:
        for number in range(SUBJECTS):
            get_store().set(key_of(f"p{number:040x}"), longest, 3600, slot=SLOT)

    assert bytes_each(redis, work) <= 300
