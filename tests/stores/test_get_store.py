from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from crossauth_django import stores
from crossauth_django.stores import (
    backend_of,
    engine_of,
    get_store,
    joins_transactions,
    memory,
)
from crossauth_django.stores.memory import MemoryStore
from tests.concurrency import run_together
from tests.stores.servers import cache

BACKENDS = "django.core.cache.backends"


class OwnCache(LocMemCache):
    """A site's own subclass."""


def test_the_alias_is_the_configured_one(settings):
    assert get_store().alias == "default"
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    assert get_store() is get_store("redis")
    assert engine_of() == "redis"


def test_there_is_one_store_an_alias():
    assert get_store("default") is get_store("default")
    assert len({id(store) for store in run_together(8, get_store)}) == 1


def test_an_override_of_caches_counts_at_once():
    store = get_store()
    store.set("key", "value")
    with cache("default", LOCATION="elsewhere"):
        assert get_store() is not store
        assert get_store().get("key") is None
    assert get_store().get("key") == "value"


def test_a_subclass_has_its_ancestors_engine():
    with cache("default", BACKEND="tests.stores.test_get_store.OwnCache"):
        assert engine_of("default") == "memory"
        assert backend_of("default") is OwnCache
        assert isinstance(get_store(), MemoryStore)


@pytest.mark.parametrize(
    "backend", [f"{BACKENDS}.filebased.FileBasedCache", f"{BACKENDS}.dummy.DummyCache"]
)
def test_what_cannot_be_exact_is_refused(backend, tmp_path):
    with cache("default", BACKEND=backend, LOCATION=str(tmp_path)):
        assert engine_of("default") is None
        with pytest.raises(ImproperlyConfigured, match="CROSSAUTH_CACHE_ALIAS"):
            get_store()


def test_a_sharded_client_is_refused():
    options = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
    servers = ["redis://a", "redis://b"]
    with (
        cache("redis", OPTIONS=options, LOCATION=servers),
        pytest.raises(ImproperlyConfigured, match="ShardClient"),
    ):
        get_store("redis")


def test_an_unknown_alias_is_a_configuration_error():
    for function in (get_store, engine_of, joins_transactions):
        with pytest.raises(ImproperlyConfigured, match="'nowhere'"):
            function("nowhere")


@pytest.mark.parametrize("backend", ["no.such.Cache", "nonsense"])
def test_a_backend_that_cannot_be_imported_is_a_configuration_error(backend):
    with cache("default", BACKEND=backend):
        for function in (get_store, engine_of):
            with pytest.raises(ImproperlyConfigured, match="cannot be imported"):
                function("default")


def test_a_missing_driver_is_a_configuration_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymemcache.serde", None)
    with override_settings(
        CACHES={"new": {"BACKEND": f"{BACKENDS}.memcached.PyMemcacheCache"}}
    ):
        assert engine_of("new") == "portable"
        with pytest.raises(ImproperlyConfigured, match="driver"):
            get_store("new")


def test_only_sqlite_joins_the_callers_transaction(settings):
    joining = {alias for alias in settings.CACHES if joins_transactions(alias)}
    vendors = {
        f"database_{alias}"
        for alias, options in settings.DATABASES.items()
        if options["ENGINE"].endswith("sqlite3")
    }
    assert joining == vendors


def test_setting_django_up_imports_no_driver():
    code = (
        "import django, sys; django.setup(); print(*sorted({'redis', 'django_redis',"
        " 'pymemcache', 'pylibmc', 'MySQLdb', 'psycopg'} & set(sys.modules)))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for name in ("POSTGRES", "MARIADB"):
        environment.pop(f"CROSSAUTH_TEST_{name}_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("whose", ["stores", "the memory's", "Django's"])
def test_a_fork_while_another_thread_holds_a_lock_leaves_the_child_free(whose):
    get_store("default")
    ours, djangos = memory._locks["crossauth-tests"]
    held = {"stores": stores._lock, "the memory's": ours, "Django's": djangos}[whose]
    holder = holding(held, 0.3)
    child = os.fork()
    if child == 0:
        # A child that waits for ever is killed.
        signal.alarm(10)
        with cache("default", TIMEOUT=1):
            get_store("default").set("key", "value")
            os._exit(0 if get_store("default").pop("key") == "value" else 1)
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get_store("default").pop("key") is None


def holding(lock: Any, seconds: float) -> threading.Thread:
    """Hold the lock in another thread, from now on and so long."""
    is_held = threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(30)
    return thread


def test_threads_that_come_first_share_one_lock(monkeypatch):
    monkeypatch.setattr(memory, "_locks", {})
    sys.setswitchinterval(1e-6)
    try:
        for number in range(100):
            location = {"LOCATION": f"new {number}"}
            made = run_together(
                8, lambda p=location: MemoryStore("default", caches["default"], p)
            )
            assert len({id(store._lock) for store in made}) == 1
    finally:
        sys.setswitchinterval(0.005)
