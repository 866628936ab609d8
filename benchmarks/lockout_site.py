"""One site, guarded by whom ``BENCH_GUARD`` names; for ``benchmarks/lockout.py``."""

from __future__ import annotations

import os
from datetime import timedelta
from urllib.parse import urlsplit

from django.contrib.auth.hashers import MD5PasswordHasher

from benchmarks.settings import configure_django

GUARD = os.environ["BENCH_GUARD"]
REDIS = os.environ["BENCH_REDIS"]
DATABASE = urlsplit(os.environ["BENCH_DATABASE"])
LIMIT = 5
# How long a failure counts, for all guards; each has its own default without it.
WINDOW = int(os.environ.get("BENCH_WINDOW", "0"))

APPS = {
    "axes-db": ["axes"],
    "axes-cache": ["axes"],
    "axes-cache-3": ["axes"],
    "defender": ["defender"],
    "allauth": ["allauth", "allauth.account"],
    "crossauth": ["crossauth_django"],
}
MIDDLEWARE = {
    "axes-db": ["axes.middleware.AxesMiddleware"],
    "axes-cache": ["axes.middleware.AxesMiddleware"],
    "axes-cache-3": ["axes.middleware.AxesMiddleware"],
    "defender": ["defender.middleware.FailedLoginMiddleware"],
    "allauth": ["allauth.account.middleware.AccountMiddleware"],
    "crossauth": ["crossauth_django.middleware.LockoutMiddleware"],
}
BACKENDS = {
    "axes-db": ["axes.backends.AxesStandaloneBackend"],
    "axes-cache": ["axes.backends.AxesStandaloneBackend"],
    "axes-cache-3": ["axes.backends.AxesStandaloneBackend"],
    "crossauth": ["crossauth_django.backends.LockoutBackend"],
}
OWN = {
    "axes-db": {"AXES_HANDLER": "axes.handlers.database.AxesDatabaseHandler"},
    "axes-cache": {"AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler"},
    "axes-cache-3": {
        "AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler",
        "AXES_LOCKOUT_PARAMETERS": [
            *("username", "ip_address"),
            ["username", "ip_address"],
        ],
    },
    "defender": {
        "DEFENDER_REDIS_URL": f"{REDIS}/1",
        "DEFENDER_LOGIN_FAILURE_LIMIT": LIMIT - 1,  # it locks beyond the number
        "DEFENDER_STORE_ACCESS_ATTEMPTS": False,
        "DEFENDER_COOLOFF_TIME": WINDOW or 300,
    },
    "allauth": {
        "ACCOUNT_LOGIN_METHODS": {"username"},
        "ACCOUNT_EMAIL_VERIFICATION": "none",
        "ACCOUNT_RATE_LIMITS": {
            "login_failed": f"1000/{WINDOW or 60}s/ip,{LIMIT}/{WINDOW or 300}s/key"
        },
    },
    "crossauth": {"CROSSAUTH_LOCKOUT_WINDOW": timedelta(seconds=WINDOW or 60)},
}
AXES = {
    "AXES_FAILURE_LIMIT": LIMIT,
    "AXES_COOLOFF_TIME": 1,
    "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
    "AXES_DISABLE_ACCESS_LOG": True,
    "AXES_VERBOSE": False,
}


LOADERS = [
    (
        "django.template.loaders.locmem.Loader",
        {
            "registration/login.html": "{{ form.as_p }}",
            "account/login.html": "{{ form.as_p }}",
        },
    ),
    "django.template.loaders.app_directories.Loader",
]


class CountingHasher(MD5PasswordHasher):
    algorithm = "counting"

    def verify(self, password: str, encoded: str) -> bool:
        from redis import Redis

        with Redis.from_url(REDIS, db=9) as redis:
            redis.incr(f"hashed:{password}")
        return super().verify(password, encoded)


class NoCsrf:
    """The same for all: the forms' tokens are not what is measured."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request._dont_enforce_csrf_checks = True
        return self.get_response(request)


configure_django(
    SECRET_KEY="b" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        *APPS.get(GUARD, []),
    ],
    MIDDLEWARE=[
        f"{__name__}.NoCsrf",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        *MIDDLEWARE.get(GUARD, []),
    ],
    AUTHENTICATION_BACKENDS=[
        *BACKENDS.get(GUARD, []),
        "django.contrib.auth.backends.ModelBackend",
    ],
    PASSWORD_HASHERS=[
        os.environ.get("BENCH_HASHER", "django.contrib.auth.hashers.MD5PasswordHasher")
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": DATABASE.hostname,
            "PORT": DATABASE.port,
            "USER": DATABASE.username,
            "NAME": os.environ.get("BENCH_DATABASE_NAME", "postgres"),
            "CONN_MAX_AGE": None,
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"{REDIS}/1",
            # None but ours asks for one; without it a hanging server hangs them for ever.
            "OPTIONS": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1},
        }
    },
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": False,
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                # Cached, as Django does where nobody names loaders.
                "loaders": [("django.template.loaders.cached.Loader", LOADERS)],
            },
        }
    ],
    LOGIN_REDIRECT_URL="/",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING_CONFIG=None,
    **((AXES if GUARD.startswith("axes") else {}) | OWN.get(GUARD, {})),
)

from django.contrib.auth.views import LoginView  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402

login = LoginView.as_view()
if GUARD == "defender":
    from defender.decorators import watch_login

    login = watch_login()(login)
urlpatterns = [path("", lambda request: HttpResponse("ok"))]
if GUARD == "allauth":
    urlpatterns.append(path("", include("allauth.urls")))
else:
    urlpatterns.append(path("login/", login))

from django.core.wsgi import get_wsgi_application  # noqa: E402

_django = get_wsgi_application()


def application(environ, start_response):
    """Every guard reads the address where the server puts it."""
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_BENCH_ADDRESS", "192.0.2.1")
    return _django(environ, start_response)
