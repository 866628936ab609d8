"""A site whose doors are other packages' too."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS
from tests.settings import MIDDLEWARE as BEFORE

INSTALLED_APPS = [
    *APPS,
    "allauth",
    "allauth.account",
    "rest_framework",
    "rest_framework.authtoken",
]
MIDDLEWARE = [*BEFORE, "allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = [
    "crossauth_django.backends.LockoutBackend",
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
ROOT_URLCONF = "tests.doors.urls"
PASSWORD_HASHERS = ["tests.lockout.hashers.CountingHasher"]
# allauth's own limiter would answer before ours is asked.
ACCOUNT_RATE_LIMITS = False
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_EMAIL_VERIFICATION = "none"
SILENCED_SYSTEM_CHECKS = ["account.W001"]
