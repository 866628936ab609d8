from __future__ import annotations

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core import checks
from django.core.cache import caches
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path

from crossauth_django.backends import LockoutBackend
from crossauth_django.checks import lockout
from crossauth_django.limits import RateLimit

MODEL = "django.contrib.auth.backends.ModelBackend"
REDIS = "django_redis.cache.RedisCache"
DJANGOS = "django.core.cache.backends.redis.RedisCache"


def basic(request):
    """What Django REST framework does with a wrong password."""
    authenticate(request, username="alice", password="wrong")
    if connections["default"].in_atomic_block:
        transaction.set_rollback(True)
    return HttpResponse(status=403)


urlpatterns = [path("basic/", basic)]


class Subclass(LockoutBackend):
    pass


def ids() -> list[str]:
    found = [message for check in lockout.CHECKS for message in check()]
    assert all(message.hint for message in found)
    return [message.id.removeprefix("crossauth_django.") for message in found]


def test_the_tests_settings_are_fine():
    assert ids() == []
    assert not [
        m
        for m in checks.run_checks(tags=["security"])
        if m.id in ("crossauth_django.E040",)
    ]


@pytest.mark.parametrize("backends", [[MODEL], [MODEL, lockout.BACKEND], []])
def test_the_backend_is_the_first(settings, backends):
    settings.AUTHENTICATION_BACKENDS = backends
    assert ids() == ["E040"]


def test_a_subclass_of_the_backend_will_do(settings):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Subclass", MODEL]
    assert ids() == []


def test_the_middleware_is_there(settings):
    settings.MIDDLEWARE = []
    assert ids() == ["E041"]


@pytest.mark.parametrize(
    "limits",
    [{"registr": 5}, {"register": -1}, {"register": "5/h"}, {"register": (5,)},
     {"register": (5, 0)}, {"register": (True, 60)}, {"register": None},
     {"register": (2.5, 60)}, {"register": (5, float("inf"))},
     {"register": (5, float("nan"))}, {"register": (5, 10**400)}],
)  # fmt: skip
def test_a_limit_is_known_and_readable(settings, limits):
    settings.CROSSAUTH_RATE_LIMITS = limits
    assert ids() == ["E042"]


def test_right_limits_are_right(settings):
    settings.CROSSAUTH_RATE_LIMITS = {
        "register": 0, "logout_all": (5, 60.5), "change_password": RateLimit(1, 1),
    }  # fmt: skip
    assert ids() == []
    settings.CROSSAUTH_RATE_LIMITS = "rubbish"  # E009 says so
    assert ids() == []


def test_the_engine_can_step(settings):
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {**settings.CACHES, "default": dummy}
    assert ids() == ["E043"]
    settings.CROSSAUTH_CACHE_ALIAS = "missing"  # E001 says so
    assert ids() == []


def test_a_proxy_needs_a_hop(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert ids() == ["W040"]
    settings.CROSSAUTH_TRUSTED_PROXY_HOPS = 1
    assert ids() == []


@pytest.mark.parametrize(
    ("backend", "options", "expected"),
    [
        (REDIS, {}, ["W041"]),
        (REDIS, {"SOCKET_TIMEOUT": 1}, []),
        (REDIS, {"CONNECTION_POOL_KWARGS": {"socket_timeout": 1}}, []),
        (DJANGOS, {}, ["W041"]),
        (DJANGOS, {"socket_timeout": 1}, []),
    ],
)
def test_redis_has_a_socket_timeout(settings, backend, options, expected):
    own = {"BACKEND": backend, "LOCATION": "redis://localhost", "OPTIONS": options}
    settings.CACHES = {**settings.CACHES, "default": own}
    assert ids() == expected


@pytest.mark.parametrize("backend", [REDIS, DJANGOS])
@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("redis://h/0?socket_timeout=1", []),
        (["redis://h/0?socket_timeout=1", "redis://i/0?db=1"], ["W041"]),
        ("redis://h/0?socket_timeout=1,redis://i/0?socket_timeout=1", []),
        ("redis://h/0?socket_connect_timeout=1", ["W041"]),
        ([], ["W041"]),
    ],
)
def test_the_url_may_have_the_timeout(settings, backend, location, expected):
    own = {"BACKEND": backend, "LOCATION": location}
    settings.CACHES = {**settings.CACHES, "default": own}
    assert ids() == expected


@pytest.fixture
def in_sqlite(settings, transactional_db):
    """The counters in a table in SQLite, and each request a transaction on it."""
    connection = connections["default"]
    if connection.vendor != "sqlite":
        pytest.skip("another database keeps its counters apart")
    settings.CROSSAUTH_CACHE_ALIAS = "database_default"
    caches["database_default"].clear()
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield connection
    connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_a_count_that_is_rolled_back_is_an_error(in_sqlite, settings):
    assert ids() == ["E045"]
    settings.AUTHENTICATION_BACKENDS = [MODEL]
    assert ids() == ["E040"]
    settings.AUTHENTICATION_BACKENDS = [lockout.BACKEND, MODEL]
    in_sqlite.settings_dict["ATOMIC_REQUESTS"] = False
    assert ids() == []


def test_what_the_error_says_is_so(in_sqlite, settings, client):
    settings.ROOT_URLCONF = __name__
    statuses = [client.get("/basic/").status_code for _ in range(40)]
    assert statuses == [403] * 40
    in_sqlite.settings_dict["ATOMIC_REQUESTS"] = False
    statuses = [client.get("/basic/").status_code for _ in range(40)]
    assert statuses == [403] * 5 + [429] * 35


def test_the_unlock_mail_has_a_base_and_a_page(settings):
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    settings.ROOT_URLCONF = __name__
    assert ids() == ["W042", "E044"]
    settings.ROOT_URLCONF = "tests.urls"
    settings.CROSSAUTH_BASE_URL = "https://example.org"
    assert ids() == []


@pytest.mark.parametrize(("field", "expected"), [("email", []), ("mail", ["E046"])])
def test_the_unlock_mail_has_an_address(settings, monkeypatch, field, expected):
    monkeypatch.setattr(get_user_model(), "EMAIL_FIELD", field)
    assert ids() == []
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    settings.CROSSAUTH_BASE_URL = "https://example.org"
    assert ids() == expected


def test_of_an_unknown_user_model_djangos_own_check_speaks(settings):
    settings.CROSSAUTH_LOCKOUT_UNLOCK_EMAIL = True
    settings.CROSSAUTH_BASE_URL = "https://example.org"
    settings.AUTH_USER_MODEL = "nowhere.User"
    assert ids() == []
