from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.core.cache import caches
from django.db.models.signals import post_migrate
from hypothesis import settings as hypothesis_settings

from tests.concurrency import Crew
from tests.provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider

# Without a folder of examples in the work tree, which several runs at once would share.
hypothesis_settings.register_profile("crossauth", database=None)
hypothesis_settings.load_profile("crossauth")


SERVED = ("redis", "django_redis_cache", "pymemcache", "pylibmc")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is about a cache whose server or driver is not installed; never in CI."""
    for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
        if value in SERVED and value not in settings.CACHES and "CI" not in os.environ:
            pytest.skip(f"nothing runs behind {value}")


# In the order of how long they keep a process: what begins last must not be what ends last.
LONG = (
    "tests/test_matrix.py",
    "tests/browser/test_walk.py",
    "tests/lockout/test_exact.py",
    "tests/stores/test_races.py",
    "tests/sessions/test_races.py",
    "tests/test_tokens.py",
    "tests/test_wheel.py",
    "tests/test_purge.py",
    "tests/test_startup.py",
    "tests/stores/",
    "tests/test_example.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        found = (item.nodeid.startswith(name) for name in LONG)
        return next((n for n, is_it in enumerate(found) if is_it), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    # Tests with real transactions end by a flush, which would make all permissions and content
    # types anew, in each database: rows that nobody reads, for half of the flush's time.
    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(
        dispatch_uid="django.contrib.auth.management.create_permissions"
    )


@pytest.fixture(autouse=True)
def _empty_caches() -> Iterator[None]:
    """The zero-configuration cache starts empty; other aliases are emptied by who uses them."""
    caches["default"].clear()
    # Django remembers rows that the test before has rolled back, or flushed.
    ContentType.objects.clear_cache()
    yield
    caches["default"].clear()


@pytest.fixture(scope="session")
def crew(django_db_setup: None) -> Iterator[Crew]:
    """Eight processes that see this run's databases and caches."""
    crew = Crew(8)
    yield crew
    crew.close()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: Any) -> Iterator[Provider]:
    """An OAuth and OpenID provider that really listens, over TLS."""
    with running_provider(tmp_path) as provider:
        # requests lets this variable win over Session.verify, so the code under test needs
        # no seam for a test certificate.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        yield provider


@pytest.fixture
def site(settings: Any, provider: Provider) -> Any:
    """The settings of a site that knows the provider under four names."""
    secrets = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "crossauth_django.backends.ProviderBackend",
    ]
    settings.LOGIN_REDIRECT_URL = "/welcome/"
    settings.CROSSAUTH_PROVIDERS = {
        "acme": {"type": "oidc", "issuer": provider.issuer, **secrets},
        "other": {"type": "oidc", "issuer": provider.issuer, **secrets},
        "google": {"issuer": provider.issuer, **secrets},
        "github": {"base_url": provider.issuer, **secrets},
    }
    return settings
