from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import checks
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from crossauth_django.checks.settings import check_user_fields
from crossauth_django.checks.types import described
from crossauth_django.conf import Conf
from crossauth_django.managers import AccountsManager

NAMES = [name for name in vars(Conf) if name.startswith("CROSSAUTH_")]
OWN = [f"crossauth_django.E{number:03}" for number in range(9, 15)]
# Always the same: it is in the names of tests, which parallel processes must agree on.
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


def found() -> list[tuple[str, str, str]]:
    """Return (id, message, hint) of each complaint about a setting."""
    return [
        (str(each.id)[-4:], each.msg, str(each.hint))
        for each in checks.run_checks(tags=[checks.Tags.security])
        if each.id in OWN
    ]


def ids() -> list[str]:
    return [identifier for identifier, _, _ in found()]


def test_the_defaults_are_sound():
    with override_settings():
        for name in NAMES:
            if hasattr(django_settings, name):
                delattr(django_settings, name)
        assert found() == []


@pytest.mark.parametrize("name", NAMES)
def test_every_default_has_the_type_of_its_setting(settings, name):
    if hasattr(settings, name):
        delattr(settings, name)
    setattr(settings, name, getattr(Conf(), name))
    assert [message for _, message, _ in found() if name in message] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_no_sensible_type_is_an_error_that_says_what_to_type(settings, name):
    setattr(settings, name, object())
    (complaint,) = [each for each in found() if each[0] == "E009"]
    assert complaint[1] == f"{name} cannot be of type object."
    assert complaint[2].startswith(f"Set {name} to {described(name)}. ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROSSAUTH_OAUTH_STATE_TTL", 600),
        ("CROSSAUTH_OAUTH_STATE_TTL", timedelta()),
        ("CROSSAUTH_OAUTH_STATE_TTL", timedelta(seconds=-1)),
        ("CROSSAUTH_SECONDARY_STORAGE_MAX_TTL", timedelta()),
        ("CROSSAUTH_DEVICE_COOKIE_AGE", timedelta.max),
        ("CROSSAUTH_SESSION_REMEMBER_ME_AGE", timedelta(days=4000)),
        ("CROSSAUTH_WARN_ON_MEMORY_BACKEND", "False"),
        ("CROSSAUTH_WARN_ON_MEMORY_BACKEND", 0),
        ("CROSSAUTH_TRUSTED_PROXY_HOPS", True),
        ("CROSSAUTH_TRUSTED_PROXY_HOPS", -1),
        ("CROSSAUTH_TRUST_EMAIL_FROM", "google"),
        ("CROSSAUTH_TRUST_EMAIL_FROM", ["google", 1]),
        ("CROSSAUTH_ENCRYPTION_KEYS", KEY),
        ("CROSSAUTH_USER_FIELDS", {"email_verified": True}),
        ("CROSSAUTH_PROVIDERS", ["google"]),
        ("CROSSAUTH_PROVIDERS", {"google": "secret"}),
        ("CROSSAUTH_CREATE_USER", print),
    ],
)
def test_a_value_of_the_wrong_type_is_one_error(settings, name, value):
    setattr(settings, name, value)
    assert [(identifier, name in message) for identifier, message, _ in found()] == [
        ("E009", True)
    ]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("CROSSAUTH_LOCKOUT_WINDOW", 4),
        ("CROSSAUTH_LOCKOUT_BASE", 1),
        ("CROSSAUTH_LOCKOUT_MAX", 1),
    ],
)
def test_a_length_with_which_no_lock_would_ever_hold_is_an_error(
    settings, name, seconds
):
    setattr(settings, name, timedelta(seconds=seconds))
    assert found() == []
    setattr(settings, name, timedelta(seconds=seconds, microseconds=-1))
    ((_, message, _),) = found()
    assert message == f"{name} must be at least {seconds} s."


def test_a_list_in_the_place_of_a_dict_is_not_blamed_on_its_items(settings):
    settings.CROSSAUTH_PROVIDERS = ["google"]
    assert found()[0][1] == "CROSSAUTH_PROVIDERS cannot be of type list."
    settings.CROSSAUTH_PROVIDERS = {"google": "secret"}
    assert found()[0][1].endswith("of type dict with items of another kind.")


def test_none_is_taken_where_the_setting_says_so(settings):
    settings.CROSSAUTH_SECONDARY_STORAGE_MAX_TTL = None
    settings.CROSSAUTH_BASE_URL = None
    settings.CROSSAUTH_CREATE_USER = None
    assert found() == []
    settings.CROSSAUTH_OAUTH_STATE_TTL = None
    assert ids() == ["E009"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://localhost:8000",
        "https://EXAMPLE.org",
        "http://[::1]:80",
    ],
)
def test_a_scheme_and_a_host_are_a_base_url(settings, url):
    settings.CROSSAUTH_BASE_URL = url
    assert found() == []


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.org", "//example.org", "https://", "ftp://example.org"),
        *(
            "https://example.org/",
            "https://example.org/path",
            "https://example.org?q=1",
        ),
        *("https://example.org#f", "https://user@example.org", "https://example.org:x"),
        *("https://[::1", "https://example.org ", "https://exa mple.org"),
        *("https://example.org\n", "javascript:alert(1)"),
    ],
)
def test_anything_else_is_no_base_url(settings, url):
    settings.CROSSAUTH_BASE_URL = url
    assert ids() == ["E009"]


def test_an_unknown_name_is_an_error_with_the_nearest_right_one(settings):
    settings.CROSSAUTH_CACHE_ALAIS = "default"
    assert found() == [
        (
            "E010",
            "CROSSAUTH_CACHE_ALAIS is no setting of crossauth_django.",
            "Rename it to CROSSAUTH_CACHE_ALIAS.",
        )
    ]


def test_an_unknown_name_like_no_other_is_to_be_removed(settings):
    settings.CROSSAUTH_ = 1
    settings.CROSSAUTHENTICATE = "not ours"
    assert [(identifier, hint) for identifier, _, hint in found()] == [
        ("E010", "Remove it.")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"email_verified": "nothing"},
        {"email_verified": "last_login"},
        {"mail_verified": "is_staff"},
    ],
)
def test_a_field_that_cannot_be_mapped_is_an_error(settings, fields):
    settings.CROSSAUTH_USER_FIELDS = fields
    assert ids() == ["E011"]


def test_a_field_of_the_user_model_can_be_mapped(settings):
    settings.CROSSAUTH_USER_FIELDS = {"email_verified": "is_active"}
    assert found() == []


def users_as_the_library_sees_them(name: str) -> Any:
    """A user model with our manager and a field of this name that is no flag."""

    class Dated(AbstractBaseUser):
        objects = AccountsManager()

        class Meta:
            app_label = "crossauth_django"

    models.DateTimeField(null=True).contribute_to_class(Dated, name)
    return Dated


@pytest.mark.parametrize(
    ("name", "expected"), [("email_verified", ["E011"]), ("confirmed_at", [])]
)
@isolate_apps("crossauth_django")
def test_a_field_that_the_library_would_misread_is_an_error(
    settings, monkeypatch, name, expected
):
    settings.CROSSAUTH_USER_FIELDS = {}
    model = users_as_the_library_sees_them(name)
    monkeypatch.setattr(f"{check_user_fields.__module__}.get_user_model", lambda: model)
    assert [str(each.id)[-4:] for each in check_user_fields()] == expected


def test_an_unknown_user_model_is_left_to_djangos_own_check(settings):
    settings.CROSSAUTH_USER_FIELDS = {"email_verified": "is_active"}
    settings.AUTH_USER_MODEL = "nowhere.User"
    assert check_user_fields() == []


@pytest.mark.parametrize("path", ["no.such.function", "nodots", "", "os.name"])
def test_what_cannot_be_called_makes_no_users(settings, path):
    settings.CROSSAUTH_CREATE_USER = path
    assert ids() == ["E012"]


def test_a_function_may_make_users(settings):
    settings.CROSSAUTH_CREATE_USER = f"{__name__}.ids"
    assert found() == []


def test_storing_provider_tokens_needs_a_key(settings):
    settings.CROSSAUTH_STORE_PROVIDER_TOKENS = True
    assert ids() == ["E013"]
    settings.CROSSAUTH_ENCRYPTION_KEYS = [KEY]
    assert found() == []


def _made_from(secret: str) -> dict[str, bytes]:
    raw = secret.encode()
    return {
        "cut": raw[:32],
        "sha256": hashlib.sha256(raw).digest(),
        "hex": hashlib.sha256(raw).hexdigest()[:32].encode(),
        "md5": hashlib.md5(raw).hexdigest().encode(),
    }


@pytest.mark.parametrize("recipe", _made_from(""))
@pytest.mark.parametrize("fallback", [False, True])
def test_a_key_made_from_secret_key_is_an_error(settings, recipe, fallback):
    secret = "another secret, long enough" * 2 if fallback else settings.SECRET_KEY
    settings.SECRET_KEY_FALLBACKS = [secret]
    made = base64.urlsafe_b64encode(_made_from(secret)[recipe]).decode()
    settings.CROSSAUTH_ENCRYPTION_KEYS = [KEY, made]
    ((identifier, message, _),) = found()
    assert identifier == "E013"
    assert "Key 2" in message
    assert "SECRET_KEY" in message


@pytest.mark.parametrize("secret", ["short", b"\xff\xfe", b"b" * 50])
def test_secret_key_filled_or_cut_is_no_encryption_key(settings, secret):
    settings.SECRET_KEY = secret
    raw = secret if isinstance(secret, bytes) else secret.encode()
    same = base64.urlsafe_b64encode(raw.ljust(32, b"\0")[:32]).decode()
    settings.CROSSAUTH_ENCRYPTION_KEYS = [same]
    assert ids() == ["E013"]


def test_secret_key_that_is_a_fernet_key_is_not_used_for_both(settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [KEY]
    for secret in (KEY, KEY.encode()):
        settings.SECRET_KEY = secret
        assert ids() == ["E013"]


@pytest.mark.parametrize("key", ["", "short", "é" * 44, "a" * 43, "\ud800"])
def test_a_malformed_key_is_an_error_that_does_not_show_it(settings, key):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [key]
    ((identifier, message, hint),) = found()
    assert identifier == "E013"
    assert "Key 1" in message
    assert not key or key not in message + hint


def test_incomplete_providers_are_errors_without_their_secrets(settings):
    settings.AUTHENTICATION_BACKENDS = ["crossauth_django.backends.ProviderBackend"]
    settings.CROSSAUTH_PROVIDERS = {"google": {"client_secret": "s3cret"}}
    complaints: list[Any] = found()
    assert {identifier for identifier, _, _ in complaints} == {"E014"}
    assert "s3cret" not in str(complaints)
