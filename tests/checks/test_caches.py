from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections

from crossauth_django.checks import caches
from crossauth_django.stores import engine_of

BACKENDS = "django.core.cache.backends"
OWN = [f"crossauth_django.{kind}{number:03}" for kind in "EW" for number in range(1, 5)]


@pytest.fixture
def cache(settings: Any, monkeypatch: Any) -> Any:
    """Put one cache behind the alias; the arguments are its configuration."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)
    settings.CROSSAUTH_WARN_ON_MEMORY_BACKEND = True

    def configure(backend: str, **configuration: Any) -> None:
        backend = f"{BACKENDS}.{backend}" if backend.count(".") == 1 else backend
        settings.CACHES = {"default": {"BACKEND": backend, **configuration}}

    return configure


def found(*, deploy: bool = False) -> list[str]:
    messages = checks.run_checks(
        tags=[checks.Tags.security], include_deployment_checks=deploy
    )
    own = [message for message in messages if message.id in OWN]
    assert all(message.hint for message in own)
    return sorted(str(message.id)[-4:] for message in own)


LARGE = {"MAX_ENTRIES": 1_000_000}


@pytest.mark.parametrize("alias", list(django_settings.CACHES))
def test_every_cache_that_the_tests_run_on_is_accepted(settings, alias):
    settings.CROSSAUTH_CACHE_ALIAS = alias
    assert not {"E001", "E002", "E003", "E004"} & set(found())


@pytest.mark.parametrize("path", caches.SUPPORTED)
def test_what_the_checks_accept_has_an_engine(cache, path):
    cache(path, LOCATION="x")
    assert engine_of() is not None
    assert not {"E002", "E003"} & set(found())


@pytest.mark.parametrize("path", caches.REFUSED)
def test_a_file_or_dummy_cache_is_an_error_and_has_no_engine(cache, path):
    cache(path, LOCATION="x")
    assert engine_of() is None
    assert found() == ["E002"]
    assert "createcachetable" in caches.check_backend()[0].hint


def test_an_alias_that_is_not_there_is_an_error(settings, cache):
    cache("locmem.LocMemCache", OPTIONS=LARGE)
    settings.CROSSAUTH_CACHE_ALIAS = "nowhere"
    assert found() == ["E001"]


def test_an_alias_of_the_wrong_type_is_one_error_and_no_crash(settings, cache):
    cache("locmem.LocMemCache", OPTIONS=LARGE)
    settings.CROSSAUTH_CACHE_ALIAS = ["default"]
    messages = checks.run_checks(
        tags=[checks.Tags.security], include_deployment_checks=True
    )
    errors = [each.id for each in messages if str(each.id).startswith("crossauth_")]
    assert errors == ["crossauth_django.E009"]


def test_where_there_is_no_cache_at_all_the_hint_names_none(settings):
    settings.CACHES = {}
    (message,) = caches.check_alias()
    assert message.hint == "Add CACHES['default']."


@pytest.mark.parametrize(
    "path", ["no.such.Cache", "tests.checks.test_caches.Strange", "", "x"]
)
def test_an_unknown_backend_is_an_error(cache, path):
    cache(path)
    assert found() == ["E003"]


class Strange:
    """No cache of Django's."""


class OwnMemory(LocMemCache):
    """A project's own subclass."""


OWN_MEMORY = "tests.checks.test_caches.OwnMemory"


@pytest.mark.parametrize(
    ("variables", "workers"),
    [
        ({"WEB_CONCURRENCY": "2"}, 2),
        ({"WEB_CONCURRENCY": "1"}, 1),
        ({"WEB_CONCURRENCY": "many"}, 1),
        ({"GUNICORN_CMD_ARGS": "-w 3"}, 3),
        ({"GUNICORN_CMD_ARGS": "-w3"}, 3),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers 4 --threads 2"}, 4),
        ({"GUNICORN_CMD_ARGS": "--access-logformat '%(h)s -w 9' --workers=5"}, 5),
        ({"GUNICORN_CMD_ARGS": "--worker-class gthread --worker-connections 9"}, 1),
        ({"GUNICORN_CMD_ARGS": "-w"}, 1),
        ({"GUNICORN_CMD_ARGS": "-w 2 'unclosed"}, 1),
        ({"GUNICORN_CMD_ARGS": "-w 1", "WEB_CONCURRENCY": "8"}, 1),
        ({"GUNICORN_CMD_ARGS": "--threads 2", "WEB_CONCURRENCY": "8"}, 8),
        ({}, 1),
    ],
)
def test_several_workers_on_a_memory_cache_are_an_error(
    cache, monkeypatch, variables, workers
):
    cache("locmem.LocMemCache")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    messages = [each.msg for each in caches.check_workers()]
    assert [message.split()[0] for message in messages] == [str(workers)] * (
        workers > 1
    )
    assert found() == ["E004"] * (workers > 1)


def test_several_workers_are_no_error_in_development_or_on_a_shared_cache(
    cache, monkeypatch, settings
):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    cache(caches.DJANGO_REDIS, LOCATION="redis://127.0.0.1:1/0")
    assert found() == []
    cache("locmem.LocMemCache")
    settings.DEBUG = True
    assert found() == []


@pytest.mark.parametrize("path", ["locmem.LocMemCache", OWN_MEMORY])
def test_a_memory_cache_is_a_warning_for_deployment_only(cache, path):
    cache(path, OPTIONS=LARGE)
    assert found() == []
    assert found(deploy=True) == ["W001"]


def test_the_switch_that_silences_the_log_silences_the_warning_but_not_the_error(
    cache, monkeypatch, settings
):
    cache("locmem.LocMemCache", OPTIONS=LARGE)
    settings.CROSSAUTH_WARN_ON_MEMORY_BACKEND = False
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert found(deploy=True) == ["E004"]


@pytest.mark.parametrize(
    "configuration",
    [{}, {"OPTIONS": {"MAX_ENTRIES": 9_999}}, {"OPTIONS": {"MAX_ENTRIES": "x"}}],
)
def test_a_cache_that_throws_live_entries_away_is_a_warning(
    cache, settings, configuration
):
    settings.CROSSAUTH_WARN_ON_MEMORY_BACKEND = False
    cache("locmem.LocMemCache", **configuration)
    assert (found(), found(deploy=True)) == ([], ["W002"])
    cache("db.DatabaseCache", LOCATION="table", **configuration)
    assert "W002" in found()
    cache(caches.DJANGO_REDIS, LOCATION="redis://127.0.0.1:1/0", **configuration)
    assert found(deploy=True) == []


def test_enough_entries_are_no_warning(cache):
    cache("db.DatabaseCache", LOCATION="table", OPTIONS=LARGE)
    assert "W002" not in found()
    cache("db.DatabaseCache", LOCATION="table", max_entries=10_000)
    assert "W002" not in found()


@pytest.mark.parametrize(
    ("path", "option"),
    [(caches.DJANGO_REDIS, "IGNORE_EXCEPTIONS"), (caches.PYMEMCACHE, "ignore_exc")],
)
def test_a_cache_that_hides_an_outage_is_a_warning(cache, path, option):
    cache(path, LOCATION="redis://127.0.0.1:1/0", OPTIONS={option: True})
    assert found() == ["W003"]
    assert option in caches.check_ignored_errors()[0].hint
    cache(path, LOCATION="redis://127.0.0.1:1/0", OPTIONS={option: False})
    assert found() == []


def test_hiding_outages_everywhere_is_a_warning_unless_this_cache_does_not(
    cache, settings
):
    settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True
    cache(caches.DJANGO_REDIS, LOCATION="redis://127.0.0.1:1/0")
    assert found() == ["W003"]
    options = {"IGNORE_EXCEPTIONS": False}
    cache(caches.DJANGO_REDIS, LOCATION="redis://127.0.0.1:1/0", OPTIONS=options)
    assert found() == []


@pytest.mark.parametrize("database", list(django_settings.DATABASES))
def test_a_cache_table_in_sqlite_is_a_warning_and_elsewhere_none(settings, database):
    settings.CROSSAUTH_CACHE_ALIAS = f"database_{database}"
    is_sqlite = connections[database].vendor == "sqlite"
    assert found() == ["W004"] * is_sqlite


@pytest.mark.skipif(
    "sqlite" not in django_settings.DATABASES["default"]["ENGINE"], reason="no SQLite"
)
def test_atomic_requests_are_named_where_they_make_it_worse(settings):
    settings.CROSSAUTH_CACHE_ALIAS = "database_default"
    assert "ATOMIC_REQUESTS" not in caches.check_sqlite()[0].msg
    connection = connections["default"]
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert "ATOMIC_REQUESTS" in caches.check_sqlite()[0].msg
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_no_check_asks_a_server(cache, settings):
    # Nothing listens there; a check that connected would raise.
    cache(caches.DJANGO_REDIS, LOCATION="redis://127.0.0.1:1/0")
    assert found(deploy=True) == []
