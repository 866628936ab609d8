from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.cache import caches

from crossauth_django import lockout
from crossauth_django.exceptions import LockedOutError

START = 1_790_000_000.0


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until a test moves it."""
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def on_redis(settings: Any) -> None:
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    caches["redis"].clear()


@pytest.fixture
def alice(db: None, settings: Any) -> Any:
    settings.ROOT_URLCONF = "tests.lockout.urls"
    settings.PASSWORD_HASHERS = ["tests.lockout.hashers.CountingHasher"]
    return get_user_model().objects.create_superuser(
        username="alice", email="alice@example.org", password="right"
    )


@pytest.fixture
def guess() -> Callable[..., Any]:
    """Reserve an attempt: its receipt, or how long it is refused."""

    def guess(
        name: str = "alice", address: str = "192.0.2.1", device: str | None = None
    ) -> Any:
        try:
            browser = None if device is None else lockout.Device(device)
            return lockout.reserve(name, address, device=browser)
        except LockedOutError as error:
            return error.retry_after

    return guess
