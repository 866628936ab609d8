from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from crossauth_django.oauth import registry

SECRETS = {"client_id": "id", "client_secret": "secret"}
OIDC = {"type": "oidc", "issuer": "https://a.example", **SECRETS}


def test_right_settings_have_no_problem(settings):
    settings.CROSSAUTH_PROVIDERS = {
        "google": SECRETS,
        "github": {**SECRETS, "base_url": "https://ghe.example"},
        "acme": {**OIDC, "scope": "openid", "name": "A", "response_mode": "form_post"},
        "local": {**OIDC, "issuer": "http://localhost:9400"},
        "work": {**SECRETS, "type": "google"},
        "own": {
            **SECRETS,
            "BACKEND": "crossauth_django.oauth.providers.github.GitHubProvider",
        },
    }
    assert registry.problems() == []
    assert [p.name for p in registry.list_providers()] == [
        *settings.CROSSAUTH_PROVIDERS
    ]


def test_no_settings_are_no_providers():
    assert registry.list_providers() == []
    assert registry.problems() == []
    assert registry.get_provider("google") is None


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ([], "CROSSAUTH_PROVIDERS is not a dictionary"),
        ({"Acme": OIDC}, "lower-case"),
        ({"a/b": OIDC}, "lower-case"),
        ({"": OIDC}, "lower-case"),
        ({"a\n": OIDC}, "lower-case"),
        ({"x" * 65: OIDC}, "lower-case"),
        ({7: OIDC}, "lower-case"),
        ({"acme": "https://a.example"}, "['acme'] is not a dictionary"),
        (
            {"acme": SECRETS},
            "['type'] is 'acme'; use one of 'github', 'google', 'oidc'",
        ),
        ({"acme": {**OIDC, "type": "odic"}}, "['type'] is 'odic'"),
        ({"acme": {**OIDC, "type": ["oidc"]}}, "['type'] is ['oidc']"),
        ({"acme": {**OIDC, "BACKEND": "no.such.thing"}}, "cannot be imported"),
        ({"acme": {**OIDC, "BACKEND": "x"}}, "cannot be imported"),
        ({"acme": {**OIDC, "BACKEND": 7}}, "cannot be imported"),
        ({"acme": {**OIDC, "BACKEND": "json.dumps"}}, "is no subclass"),
        ({"acme": {**OIDC, "BACKEND": "json.JSONDecoder"}}, "is no subclass"),
        ({"google": {"client_id": "x"}}, "['google'] lacks 'client_secret'."),
        ({"google": {**SECRETS, "client_id": ""}}, "lacks 'client_id'"),
        ({"acme": {**SECRETS, "type": "oidc"}}, "lacks 'issuer'"),
        ({"google": {**SECRETS, "client_id": 7}}, "['client_id'] is not text"),
        ({"google": {**SECRETS, "secret": "x"}}, "['secret'] is no setting of Google"),
        ({"acme": {**OIDC, "base_url": "https://a"}}, "['base_url'] is no setting of"),
        ({"acme": {**OIDC, "issuer": "a.example"}}, "must begin with https://"),
        ({"acme": {**OIDC, "issuer": "http://a.example"}}, "must begin with https://"),
        ({"acme": {**OIDC, "issuer": "https://a.example?x"}}, "must begin with"),
        ({"github": {**SECRETS, "api_url": "ftp://x"}}, "['api_url'] must begin"),
        ({"acme": {**OIDC, "response_mode": "fragment"}}, "neither 'query' nor"),
    ],
)
def test_a_mistake_is_named_and_nothing_runs_on_it(settings, providers, words):
    settings.CROSSAUTH_PROVIDERS = providers
    found = registry.problems()
    assert len(found) == 1
    assert words in found[0]
    if isinstance(providers, dict):
        with pytest.raises(ImproperlyConfigured, match="CROSSAUTH_PROVIDERS"):
            registry.list_providers()


def test_every_mistake_is_named(settings):
    mistakes: dict[str, Any] = {"google": {}, "acme": {**OIDC, "issuer": "x", "y": "z"}}
    settings.CROSSAUTH_PROVIDERS = mistakes
    assert len(registry.problems()) == 4
