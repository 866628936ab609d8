"""A project with every cache and database that is running; SQLite and LocMemCache at least.

``CROSSAUTH_TEST_DATABASE`` (sqlite, postgres, mariadb) chooses the default database and
``CROSSAUTH_TEST_USER`` (a model's label) the user model: ``test_matrix.py`` runs the cells.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRET_KEY = "not a secret: tests only, and long enough for every algorithm in use"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = os.environ.get("CROSSAUTH_TEST_USE_TZ") != "0"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"

AUTH_USER_MODEL = os.environ.get("CROSSAUTH_TEST_USER", "auth.User")
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "crossauth_django",
]
if AUTH_USER_MODEL.startswith("users."):
    INSTALLED_APPS.append("tests.users")
if AUTH_USER_MODEL == "users.FlaggedUser":
    CROSSAUTH_USER_FIELDS = {"email_verified": "is_confirmed"}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "crossauth_django.middleware.LockoutMiddleware",
]
# Django 6.1 asks for it; 5.2 and 6.0 do not look.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
AUTHENTICATION_BACKENDS = [
    "crossauth_django.backends.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    "tests.hashers.QuickBCrypt",
    "tests.hashers.QuickBCryptSHA256",
    "tests.hashers.QuickPBKDF2",
]

_TEMPORARY = Path(os.environ.setdefault("CROSSAUTH_TEST_FOLDER", tempfile.mkdtemp()))


def _server(engine: str, url: str, **options: Any) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "HOST": parts.hostname,
        "PORT": str(parts.port),
        "USER": parts.username,
        "NAME": parts.path.lstrip("/"),
        "TEST": {"NAME": f"test_crossauth_{os.getpid()}"},
        "OPTIONS": options,
    }


def _databases() -> dict[str, dict[str, Any]]:
    # In a file: other threads and other processes see it too.
    file = str(_TEMPORARY / f"test-{os.getpid()}.sqlite3")
    databases: dict[str, dict[str, Any]] = {
        "sqlite": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": file,
            "TEST": {"NAME": file},
            # A test database need not survive a power failure, and is written often.
            "OPTIONS": {"timeout": 30, "init_command": "PRAGMA synchronous=OFF"},
        }
    }
    if url := os.environ.get("CROSSAUTH_TEST_POSTGRES_URL"):
        databases["postgres"] = _server("postgresql", url)
    if url := os.environ.get("CROSSAUTH_TEST_MARIADB_URL"):
        databases["mariadb"] = _server("mysql", url, charset="utf8mb4")
    chosen = os.environ.get("CROSSAUTH_TEST_DATABASE")
    if chosen is not None:
        return {"default": databases[chosen]}
    databases["default"] = databases.pop("sqlite")
    return databases


DATABASES = _databases()
# Worker processes (tests.concurrency) use the databases that their parent made.
for _alias, _name in json.loads(
    os.environ.get("CROSSAUTH_TEST_DATABASE_NAMES", "{}")
).items():
    DATABASES[_alias]["NAME"] = _name
DATABASE_ROUTERS = ["tests.routers.CacheTableRouter"]


def _caches() -> dict[str, dict[str, Any]]:
    cache = "django.core.cache.backends"
    caches: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": f"{cache}.locmem.LocMemCache",
            "LOCATION": "crossauth-tests",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        },
    }
    for alias in DATABASES:
        caches[f"database_{alias}"] = {
            "BACKEND": f"{cache}.db.DatabaseCache",
            "LOCATION": f"cache_{alias}",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    if url := os.environ.get("CROSSAUTH_TEST_REDIS_URL"):
        caches["redis"] = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"{url}/0",
            "OPTIONS": {"SOCKET_TIMEOUT": 5, "SOCKET_CONNECT_TIMEOUT": 5},
        }
        caches["django_redis_cache"] = {
            "BACKEND": f"{cache}.redis.RedisCache",
            "LOCATION": f"{url}/1",
            "OPTIONS": {"socket_timeout": 5, "socket_connect_timeout": 5},
        }
    if url := os.environ.get("CROSSAUTH_TEST_MEMCACHED_URL"):
        caches["pymemcache"] = {
            "BACKEND": f"{cache}.memcached.PyMemcacheCache",
            "LOCATION": url,
            "KEY_PREFIX": "pymemcache",
        }
        if _has("pylibmc"):
            caches["pylibmc"] = {
                "BACKEND": f"{cache}.memcached.PyLibMCCache",
                "LOCATION": url,
                "KEY_PREFIX": "pylibmc",
            }
    return caches


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


CACHES = _caches()
CROSSAUTH_WARN_ON_MEMORY_BACKEND = False
