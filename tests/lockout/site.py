"""Settings and application of a site that gunicorn serves; its cache by environment."""

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


def application(environ, start_response):  # type: ignore[no-untyped-def]
    return _application()(environ, start_response)


def _application():  # type: ignore[no-untyped-def]
    global _made
    if _made is None:
        from django.core.wsgi import get_wsgi_application

        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.lockout.site"
        _made = get_wsgi_application()
    return _made


_made = None
