from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import connections

from crossauth_django.stores import Store, engine_of, get_store


def _database(name: str) -> Any:
    mark = pytest.mark.django_db(transaction=True, databases=["default", name])
    return pytest.param(f"database_{name}", marks=mark)


DATABASES = ["default", "postgres", "mariadb"]
if "CROSSAUTH_TEST_DATABASE" in os.environ:
    DATABASES = ["default"]
DATABASE_ALIASES = [
    _database(name) if name in settings.DATABASES else f"database_{name}"
    for name in DATABASES
]
ALIASES = ["default", "redis", "django_redis_cache", "pymemcache", "pylibmc"]
ALIASES += DATABASE_ALIASES


@pytest.fixture(params=ALIASES)
def alias(request: pytest.FixtureRequest) -> str:
    """Every cache in turn; one whose server is not installed is skipped, but never in CI."""
    if request.param not in settings.CACHES and "CI" not in os.environ:
        pytest.skip(f"nothing runs behind {request.param}")
    return str(request.param)


@pytest.fixture
def _django_db_helper(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Replaces pytest-django's: only cache tables are touched, so nothing is to be emptied."""
    with django_db_blocker.unblock():
        yield
        async_to_sync(sync_to_async(connections.close_all))()
        connections.close_all()


@pytest.fixture
def store(alias: str) -> Store:
    return get_store(alias)


@pytest.fixture
def key() -> str:
    """A key that nobody else uses."""
    return uuid.uuid4().hex


@pytest.fixture
def keys() -> Callable[[int], list[str]]:
    run = uuid.uuid4().hex
    numbers = itertools.count()
    return lambda size: [f"{run}-{next(numbers)}" for _ in range(size)]


@pytest.fixture
def wait(alias: str) -> Iterator[Callable[[float], Any]]:
    """Lets seconds pass on the clock that counts: Redis' own, or else the worker's."""
    if engine_of(alias) == "redis":
        yield time.sleep
        return
    with time_machine.travel(time.time(), tick=False) as clock:
        yield clock.shift
