"""A whole project's settings, short enough to copy from.

``REDIS_URL`` and ``DATABASE_URL`` choose Redis and PostgreSQL; without them the project runs on
LocMemCache and SQLite. ``DEBUG=0`` with a ``SECRET_KEY`` makes it a production site.
"""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent

DEBUG = os.environ.get("DEBUG", "1") != "0"
# Known to everybody who reads this, hence good for nothing but DEBUG.
SECRET_KEY = "insecure: example only" if DEBUG else os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")

INSTALLED_APPS = [
    "example_project",
    "crossauth_django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "crossauth_django.middleware.LockoutMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"
STATIC_URL = "/static/"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": dj_database_url.config(
        default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}", conn_max_age=60
    )
}

# --- Users -----------------------------------------------------------------------------------
# A ready model that signs in by e-mail. With users already in auth.User, leave this line out.
AUTH_USER_MODEL = "crossauth_django.User"
AUTHENTICATION_BACKENDS = [
    # Counts every attempt before a password is looked at.
    "crossauth_django.backends.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
    "crossauth_django.backends.ProviderBackend",
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "account"
LOGOUT_REDIRECT_URL = "home"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]

# --- Short-lived state -----------------------------------------------------------------------
# Everything single-use or counted lives in this cache. Memory is exact within one process
# only, which is right for a try on your own machine; several workers need Redis.
if REDIS_URL := os.environ.get("REDIS_URL"):
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            # At the default of 300 entries, a visitor could push out everybody's sign-in.
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }

# --- Sessions --------------------------------------------------------------------------------
# Each browser that is signed in is a row: the account page lists them, and ends them at once.
SESSION_ENGINE = "crossauth_django.sessions"
CSRF_USE_SESSIONS = True

# --- Providers -------------------------------------------------------------------------------
# Any OpenID Connect issuer; "google" and "github" need no more than client_id and client_secret.
# `manage.py demo` runs an issuer on your machine, and writes its address in here.
CROSSAUTH_PROVIDERS = {
    "local": {
        "type": "oidc",
        "name": "Local OpenID",
        "issuer": "http://localhost:9400",
        "client_id": "example",
        "client_secret": "example",
    },
}
# When one of these says that an address is verified, the account with that address is theirs.
CROSSAUTH_TRUST_EMAIL_FROM = ["local"]

# --- Production ------------------------------------------------------------------------------
if not DEBUG:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
