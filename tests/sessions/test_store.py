from __future__ import annotations

import pytest
from django.core.cache import caches

from crossauth_django.stores import get_store


@pytest.mark.parametrize("alias", ["default", "redis", "django_redis_cache"])
def test_many_keys_are_deleted_and_others_stay(alias):
    store = get_store(alias)
    for key in ("a", "b", "c"):
        store.set(f"delete-many:{key}", key)
    store.delete_many(
        [("delete-many:a", ""), ("delete-many:b", ""), ("delete-many:missing", "")]
    )
    store.delete_many([])
    kept = [store.get(f"delete-many:{key}") for key in ("a", "b", "c")]
    assert kept == [None, None, "c"]
    store.delete("delete-many:c")


@pytest.mark.parametrize("alias", ["redis", "django_redis_cache"])
def test_a_new_connection_is_counted(alias):
    store = get_store(alias)
    store.get("any")
    made = store.connections_made
    store.get("any")
    assert store.connections_made == made > 0
    store.close()
    store.get("any")
    caches.close_all()
    assert store.connections_made == made + 1


def test_a_connect_function_of_the_projects_own_is_still_called(settings):
    seen = []

    def connected(connection):
        seen.append(connection)
        connection.on_connect()

    options = {
        "CONNECTION_POOL_KWARGS": {"redis_connect_func": connected},
    }
    settings.CACHES = {
        **settings.CACHES,
        "redis": {**settings.CACHES["redis"], "OPTIONS": options},
    }
    assert get_store("redis").get("any") is None
    assert len(seen) == 1
    get_store("redis").close()
