from __future__ import annotations

import inspect
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from crossauth_django.conf import Conf, conf

NAMES = [name for name in vars(Conf) if not name.startswith("_")]
# Design section 9.
DEFAULTS: dict[str, Any] = {
    "CACHE_ALIAS": "default",
    "WARN_ON_MEMORY_BACKEND": True,
    "SECONDARY_STORAGE_MAX_TTL": None,
    "TRUSTED_PROXY_HOPS": 0,
    "BASE_URL": None,
    "USER_FIELDS": {},
    "CREATE_USER": None,
    "PASSWORD_LOGIN": True,
    "PROVIDERS": {},
    "TRUST_EMAIL_FROM": ["google", "apple", "microsoft"],
    "STORE_PROVIDER_TOKENS": False,
    "ENCRYPTION_KEYS": [],
    "SESSION_IDLE_TIMEOUT": timedelta(minutes=30),
    "SESSION_ABSOLUTE_TIMEOUT": timedelta(days=14),
    "SESSION_REMEMBER_ME_AGE": timedelta(days=30),
    "SESSION_TOUCH_INTERVAL": timedelta(seconds=60),
    "MAX_SESSIONS_PER_USER": 5,
    "ANONYMOUS_SESSIONS": "cache",
    "LOCKOUT_ATTEMPTS": 5,
    "LOCKOUT_USER_ATTEMPTS": 20,
    "LOCKOUT_ADDRESS_ATTEMPTS": 50,
    "LOCKOUT_WINDOW": timedelta(seconds=60),
    "LOCKOUT_BASE": timedelta(seconds=60),
    "LOCKOUT_MAX": timedelta(hours=1),
    "LOCKOUT_RETENTION": timedelta(hours=24),
    "LOCKOUT_ON_SUCCESS": "clear_all",
    "LOCKOUT_FAIL_OPEN": False,
    "DEVICE_COOKIE_AGE": timedelta(days=365),
    "RATE_LIMITS": {},
    "SUDO_WINDOW": timedelta(minutes=5),
    "SUDO_ATTEMPTS": 3,
    "SUDO_LOCK": timedelta(minutes=15),
    "OAUTH_STATE_TTL": timedelta(minutes=10),
    "PROVIDER_TIMEOUT": timedelta(seconds=10),
}


@pytest.fixture
def _no_settings(settings: Any) -> None:
    for name in NAMES:
        if hasattr(settings, name):
            delattr(settings, name)


@pytest.mark.usefixtures("_no_settings")
@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_is_that_of_the_design(name):
    assert getattr(conf, f"CROSSAUTH_{name}") == DEFAULTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_read_when_it_is_asked_for(settings, name):
    for value in ("one", "another"):
        setattr(settings, name, value)
        assert getattr(conf, name) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_keeps_its_name_and_says_its_default(name):
    assert name.startswith("CROSSAUTH_")
    assert "Default: " in (inspect.getdoc(getattr(Conf, name)) or "")


def test_a_setting_can_be_read_before_django_is_set_up():
    code = "from crossauth_django.conf import conf; print(conf.CROSSAUTH_CACHE_ALIAS)"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.lockout.site",
        "CROSSAUTH_TEST_ALIAS": "redis",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"redis\n"
