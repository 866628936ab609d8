from __future__ import annotations

import time

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from crossauth_django import lockout
from crossauth_django.exceptions import LockedOutError
from crossauth_django.stores import get_store
from tests.services import start

SUBJECTS, NAMES = 2500, 800


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


def test_three_subjects_of_which_one_is_locked_and_sealed_take_at_most_300_bytes_each(
    redis, settings
):
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 1
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    def work() -> None:
        attempts()
        time.sleep(3.05)
        assert attempts() == NAMES

    assert bytes_each(redis, work) <= 300


# docs/lockout.md says so: a seal is 140 characters, more for a name that is longer than these.
@pytest.mark.parametrize(("has_key", "size"), [(False, 300), (True, 450)])
def test_a_locked_subject_alone_takes_at_most_so_much_with_its_line_and_its_seal(
    redis, settings, has_key, size
):
    if has_key:
        settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    settings.CROSSAUTH_LOCKOUT_ATTEMPTS = 1
    settings.CROSSAUTH_LOCKOUT_USER_ATTEMPTS = 0
    settings.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS = 0

    def work() -> None:
        attempts()
        time.sleep(3.05)
        assert attempts() == NAMES

    assert bytes_each(redis, work) <= size


def attempts() -> int:
    """Try each name once, from an address of its own; return how many locks that starts."""
    return sum(map(attempt, range(NAMES)))


def attempt(number: int) -> int:
    name, address = (
        f"somebody{number}@example.org",
        f"10.0.{number >> 8}.{number & 255}",
    )
    try:
        lockout.reserve(name, address)
    except LockedOutError as error:
        return len(error.new_locks)
    return 0
