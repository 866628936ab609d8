from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import caches

from tests.concurrency import Crew


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """The zero-configuration cache starts empty; other aliases are emptied by who uses them."""
    caches["default"].clear()
    yield
    caches["default"].clear()


@pytest.fixture(scope="session")
def crew(django_db_setup: None) -> Iterator[Crew]:
    """Eight processes that see this run's databases and caches."""
    crew = Crew(8)
    yield crew
    crew.close()
