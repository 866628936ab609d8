from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.core import checks
from django.test import modify_settings

from crossauth_django.checks import installation

urlpatterns: list[Any] = []

PROVIDERS = {"google": {"client_id": "id", "client_secret": "secret"}}
BACKEND = "crossauth_django.backends.ProviderBackend"


def found() -> list[tuple[str, str]]:
    """Return (id, message) of each complaint about what is listed."""
    own = [f"crossauth_django.E{number:03}" for number in range(5, 9)]
    own.append("crossauth_django.W005")
    found = checks.run_checks(tags=[checks.Tags.security])
    messages = [each for each in found if each.id in own]
    assert all(each.hint for each in messages)
    return [(str(each.id)[-4:], each.msg) for each in messages]


def test_a_complete_installation_has_nothing_to_say():
    assert found() == []


@pytest.mark.parametrize("app", ["django.contrib.contenttypes", "django.contrib.auth"])
def test_a_missing_app_is_an_error(app):
    with modify_settings(INSTALLED_APPS={"remove": [app]}):
        identifiers = [each for each in found() if app in each[1]]
    assert [identifier for identifier, _ in identifiers] == ["E005"]


def test_the_sessions_app_is_missed_only_where_its_table_is_used(settings):
    with modify_settings(INSTALLED_APPS={"remove": ["django.contrib.sessions"]}):
        assert found() == [("E005", "django.contrib.sessions is not installed.")]
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
        assert found() == []


@pytest.mark.parametrize(
    "path",
    [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
)
def test_a_missing_middleware_is_an_error(path):
    with modify_settings(MIDDLEWARE={"remove": [path]}):
        assert found() == [
            ("E006", f"Neither {path} nor a subclass of it is in MIDDLEWARE.")
        ]


class OwnMiddleware(AuthenticationMiddleware):
    """A project's own subclass."""


def function_middleware(get_response: Any) -> Any:
    return get_response


def test_a_subclass_of_a_middleware_is_accepted(settings):
    settings.MIDDLEWARE = [
        *(each for each in settings.MIDDLEWARE if "AuthenticationM" not in each),
        "tests.checks.test_installation.OwnMiddleware",
        "tests.checks.test_installation.function_middleware",
    ]
    assert found() == []


def test_providers_without_their_backend_are_an_error(settings):
    settings.CROSSAUTH_PROVIDERS = PROVIDERS
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    assert [identifier for identifier, _ in found()] == ["E007"]


def test_the_provider_backend_or_a_subclass_is_accepted(settings):
    settings.CROSSAUTH_PROVIDERS = PROVIDERS
    for path in (BACKEND, f"{__name__}.OwnBackend"):
        settings.AUTHENTICATION_BACKENDS = [path]
        assert found() == []


def __getattr__(name: str) -> Any:
    # Made when it is asked for: the backends may be imported only when the apps are ready.
    if name != "OwnBackend":
        raise AttributeError(name)
    from crossauth_django.backends import ProviderBackend

    return type(name, (ProviderBackend,), {})


@pytest.mark.parametrize("name", ["MIDDLEWARE", "AUTHENTICATION_BACKENDS"])
@pytest.mark.parametrize(
    "path", ["no.such.Thing", "nodots", "", "os.path.nothing", ".relative.Thing"]
)
def test_a_path_that_cannot_be_imported_is_an_error_and_no_crash(settings, name, path):
    setattr(settings, name, [*getattr(django_settings, name), path])
    assert found() == [("E008", f"{path!r} in {name} cannot be imported.")]


@pytest.mark.parametrize("name", ["MIDDLEWARE", "AUTHENTICATION_BACKENDS"])
def test_a_path_where_a_list_belongs_is_said_to_be_one(settings, name):
    setattr(settings, name, "crossauth_django.backends.LockoutBackend")
    errors = [message for identifier, message in found() if identifier == "E008"]
    assert errors == [f"{name} is text, where a list of dotted paths belongs."]


def test_providers_whose_urls_are_nowhere_are_a_warning(settings):
    settings.ROOT_URLCONF = __name__
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    assert found() == []
    settings.CROSSAUTH_PROVIDERS = PROVIDERS
    assert [identifier for identifier, _ in found()] == ["W005"]


def test_where_no_page_is_served_no_url_is_missed(settings):
    settings.CROSSAUTH_PROVIDERS = PROVIDERS
    del settings.ROOT_URLCONF
    assert installation.check_urls() == []
