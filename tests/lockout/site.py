"""Settings of a site that gunicorn serves (``tests.lockout.wsgi``); its cache by environment."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

CROSSAUTH_CACHE_ALIAS = os.environ.get("CROSSAUTH_TEST_ALIAS", "default")
CROSSAUTH_TRUSTED_PROXY_HOPS = 1  # each round is another client's
PASSWORD_HASHERS = ["tests.lockout.hashers.CountingHasher"]
ROOT_URLCONF = "tests.lockout.urls"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "crossauth_django.middleware.LockoutMiddleware",
]
