from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from crossauth_django.checks import sessions
from crossauth_django.sessions import SessionStore as OurSessionStore

# Django 6.1 asks the database whether it has JSON fields.
pytestmark = pytest.mark.django_db

GOOD = {
    "SESSION_ENGINE": "crossauth_django.sessions",
    "SESSION_COOKIE_SECURE": True,
    "CSRF_USE_SESSIONS": True,
}
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
BEARER = "crossauth_django.middleware.BearerTokenMiddleware"


class SessionStore(OurSessionStore):
    """An engine made from ours."""


@pytest.fixture
def good(settings):
    for name, value in GOOD.items():
        setattr(settings, name, value)
    return settings


def found(checks=(*sessions.CHECKS, *sessions.DEPLOY_CHECKS)):
    return [
        message.id.removeprefix("crossauth_django.")
        for check in checks
        for message in check()
    ]


def test_a_good_site_hears_nothing(good):
    assert found() == []


def test_a_site_with_another_engine_and_no_device_features_hears_nothing(settings):
    settings.SESSION_COOKIE_HTTPONLY = False
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROSSAUTH_MAX_SESSIONS_PER_USER", 3),
        ("CROSSAUTH_SESSION_IDLE_TIMEOUT", timedelta(hours=1)),
        ("MIDDLEWARE", [AUTHENTICATION, BEARER]),
    ],
)
def test_device_features_need_our_engine(settings, name, value):
    setattr(settings, name, value)
    assert found() == ["E020"]
    settings.SESSION_ENGINE = "crossauth_django.sessions"
    assert "E020" not in found()


@pytest.mark.parametrize(
    ("engine", "moves"),
    [
        ("django.contrib.sessions.backends.db", True),
        ("django.contrib.sessions.backends.signed_cookies", False),
        ("crossauth_django.sessions.SessionStore", False),
    ],
)
def test_only_an_engine_whose_sessions_can_move_in_is_named_as_the_previous(
    settings, engine, moves
):
    settings.SESSION_ENGINE = engine
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = 3
    (message,) = sessions.check_engine()
    assert "SESSION_ENGINE = 'crossauth_django.sessions'" in message.hint
    assert ("PREVIOUS" in message.hint) is moves


def test_an_engine_made_from_ours_will_do(good):
    good.CROSSAUTH_MAX_SESSIONS_PER_USER = 3
    good.SESSION_ENGINE = __name__
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SESSION_COOKIE_SECURE", False, ["W020"]),
        ("MIDDLEWARE", [BEARER, AUTHENTICATION], ["E022"]),
        ("MIDDLEWARE", [AUTHENTICATION, BEARER], []),
        ("SESSION_COOKIE_HTTPONLY", False, ["W021"]),
        ("SESSION_COOKIE_SAMESITE", "None", ["W022"]),
        ("SESSION_COOKIE_SAMESITE", None, ["W022"]),
        ("SESSION_COOKIE_SAMESITE", "Strict", []),
        ("CSRF_USE_SESSIONS", False, ["W023"]),
        ("SESSION_COOKIE_AGE", 3600, ["W024"]),
        ("SESSION_COOKIE_AGE", 60, ["W024", "W024"]),
        ("CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT", timedelta(days=15), ["W024"]),
        ("CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT", "no duration", []),
        (
            "CROSSAUTH_SESSION_PREVIOUS_ENGINE",
            "django.contrib.sessions.backends.db",
            [],
        ),
        ("CROSSAUTH_SESSION_PREVIOUS_ENGINE", "crossauth_django.sessions", ["E021"]),
        ("CROSSAUTH_SESSION_PREVIOUS_ENGINE", "no.such.engine", ["E021"]),
    ],
)
def test_what_weakens_sessions_is_said(good, name, value, expected):
    setattr(good, name, value)
    assert found() == expected


@pytest.mark.parametrize(
    "engine",
    ["django.contrib.sessions.backends.signed_cookies", "tests.checks.cookies"],
)
def test_from_signed_cookies_nobody_moves_in(good, engine):
    good.CROSSAUTH_SESSION_PREVIOUS_ENGINE = engine
    assert found() == ["E021"]
    assert "in the cookie" in sessions.check_previous_engine()[0].msg


def test_a_count_of_sudo_that_is_rolled_back_is_said(good):
    connection = connections["default"]
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert found() == ["W025"] * (connection.vendor == "sqlite")
        good.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        assert found() == []
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def test_hints_say_what_to_type(good):
    good.SESSION_COOKIE_AGE = 3600
    (message,) = sessions.check_age()
    assert "SESSION_COOKIE_AGE = 1209600" in message.hint


def test_they_are_registered(settings):
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = 3
    with pytest.raises(SystemCheckError, match="E020"):
        call_command("check")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROSSAUTH_ANONYMOUS_SESSIONS", "both"),
        ("CROSSAUTH_MAX_SESSIONS_PER_USER", -1),
        ("CROSSAUTH_MAX_SESSIONS_PER_USER", 0),
        ("CROSSAUTH_SUDO_ATTEMPTS", 0),
    ],
)
def test_impossible_values_are_errors(good, name, value):
    setattr(good, name, value)
    with pytest.raises(SystemCheckError, match="E009"):
        call_command("check")


def test_a_touch_interval_of_nothing_is_possible(good):
    good.CROSSAUTH_SESSION_TOUCH_INTERVAL = timedelta()
    call_command("check")
