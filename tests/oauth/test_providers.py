from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user
from django.db import connection
from django.test import Client

from crossauth_django.models import SocialAccount
from crossauth_django.oauth.providers.base import (
    Endpoints,
    Identity,
    Provider,
    Tokens,
)
from tests.accounts.conftest import make_user
from tests.oauth.browser import come_back, sign_in, start
from tests.provider import CLIENT_ID, CLIENT_SECRET

pytestmark = pytest.mark.django_db


def signed_in(client: Any, provider: Any, name: str) -> SocialAccount:
    assert sign_in(client, provider, name).status_code == 302
    return SocialAccount.objects.get()


# OpenID Connect


def test_subject_and_address_come_from_the_id_token(client, site, provider):
    account = signed_in(client, provider, "acme")
    assert account.provider == "acme"
    assert account.provider_user_id == "248289761001"
    assert account.provider_email == "jane@example.com"
    assert account.provider_email_verified is True
    assert account.user_info["name"] == "Jane"
    assert provider.asked("/userinfo") == 0


def test_userinfo_is_asked_for_an_address_that_the_id_token_leaves_out(
    client, site, provider
):
    provider.claims = {"email": None, "email_verified": None, "name": None}
    account = signed_in(client, provider, "acme")
    assert account.provider_email == "jane@example.com"
    assert account.provider_email_verified is True
    assert account.user_info["name"] == "Jane"


def test_whether_it_is_verified_comes_with_the_address_or_not_at_all(
    client, site, provider
):
    # An ID token's flag says nothing about an address that userinfo brings.
    provider.claims = {"email": None, "email_verified": True}
    provider.userinfo = {"email": "other@example.com", "email_verified": None}
    account = signed_in(client, provider, "acme")
    assert account.provider_email == "other@example.com"
    assert account.provider_email_verified is None


@pytest.mark.parametrize("sub", ["somebody else", "", None, 7, ["248289761001"]])
def test_userinfo_about_another_subject_signs_nobody_in(client, site, provider, sub):
    provider.claims = {"email": None}
    provider.userinfo = {"sub": sub}
    response = sign_in(client, provider)
    assert response.status_code == 502
    assert response.context["code"] == "invalid_id_token"
    assert not get_user(client).is_authenticated


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        (True, True),
        ("true", True),
        (False, False),
        ("false", False),
        ("yes", False),
        (1, False),
        ([True], False),
        (None, None),
    ],
    ids=repr,
)
def test_verified_is_what_the_provider_says_clearly(
    client, site, provider, said, understood
):
    provider.claims = {"email_verified": said}
    account = signed_in(client, provider, "acme")
    assert account.provider_email_verified is understood


@pytest.mark.parametrize(
    "email",
    ["", 7, ["jane@example.com"], {}, "a@" + "b" * 320, "a@b\n.example"],
    ids=repr,
)
def test_an_address_that_is_none_is_nobodys(client, site, provider, email):
    provider.claims = {"email": email}
    assert signed_in(client, provider, "acme").provider_email is None


def test_without_userinfo_and_address_the_subject_is_enough(client, site, provider):
    provider.claims = {"email": None}
    provider.discovery = {"userinfo_endpoint": None}
    assert signed_in(client, provider, "acme").provider_email is None


def test_tokens_are_kept_only_when_asked_and_encrypted(site, provider):
    provider.token = {"refresh_token": "a refresh token"}
    account = signed_in(Client(), provider, "acme")
    assert account.access_token is None
    assert account.access_token_expires_at is None
    site.CROSSAUTH_STORE_PROVIDER_TOKENS = True
    site.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    account = signed_in(Client(), provider, "acme")
    assert account.access_token in provider._access_tokens
    assert account.refresh_token == "a refresh token"
    assert account.access_token_expires_at is not None
    assert account.scope == "openid email"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {SocialAccount._meta.db_table}")
        row = repr(cursor.fetchall())
    assert account.access_token not in row
    assert "a refresh token" not in row
    site.CROSSAUTH_STORE_PROVIDER_TOKENS = False
    account = signed_in(Client(), provider, "acme")
    assert (account.access_token, account.refresh_token) == (None, None)


# Google


def test_google_is_found_at_its_own_issuer(site):
    from crossauth_django.oauth.registry import get_provider

    del site.CROSSAUTH_PROVIDERS["google"]["issuer"]
    google: Any = get_provider("google")
    assert google.issuer == "https://accounts.google.com"
    assert google.label == "Google"


def test_an_address_that_google_verified_joins_the_account_that_has_it(site, provider):
    # CROSSAUTH_TRUST_EMAIL_FROM names google, and does not name acme.
    user = make_user("jane@example.com")
    trusted, stranger = Client(), Client()
    provider.user["sub"] = "1"
    refused = sign_in(stranger, provider, "acme")
    assert (refused.status_code, refused.context["code"]) == (403, "account_not_linked")
    assert sign_in(trusted, provider, "google").status_code == 302
    assert get_user(trusted) == user
    assert not get_user(stranger).is_authenticated


# GitHub


def test_github_is_asked_at_its_own_addresses(site):
    from crossauth_django.oauth.registry import get_provider

    del site.CROSSAUTH_PROVIDERS["github"]["base_url"]
    github: Any = get_provider("github")
    assert github.endpoints() == Endpoints(
        authorization="https://github.com/login/oauth/authorize",
        token="https://github.com/login/oauth/access_token",
    )
    assert github._api_url() == "https://api.github.com"


def test_an_enterprise_may_have_its_api_elsewhere(client, site, provider):
    options = site.CROSSAUTH_PROVIDERS["github"]
    options["api_url"] = f"{provider.issuer}/api/v3/"
    options["base_url"] = f"{provider.issuer}/"
    assert sign_in(client, provider, "github").status_code == 302


def test_githubs_subject_is_the_number_not_the_name(client, site, provider):
    account = signed_in(client, provider, "github")
    assert account.provider_user_id == "583231"
    assert account.provider_email == "octocat@example.com"
    assert account.provider_email_verified is True
    assert account.user_info["login"] == "octocat"


@pytest.mark.parametrize(
    ("emails", "expected"),
    [
        ([{"email": "a@b.example", "primary": True, "verified": False}], False),
        ([{"email": "a@b.example", "primary": True}], False),
        ([{"email": "a@b.example", "primary": True, "verified": "yes"}], False),
        ([], None),
        ([7, None, {"email": "a@b.example", "verified": True}], None),
        ([{"email": 7, "primary": True, "verified": True}], None),
        ([{"primary": True, "verified": True}], None),
    ],
)
def test_only_the_primary_address_counts_and_only_verified_is_verified(
    client, site, provider, emails, expected
):
    provider.github_emails = emails
    account = signed_in(client, provider, "github")
    assert account.provider_email_verified is expected
    assert account.provider_email == (None if expected is None else "a@b.example")


@pytest.mark.parametrize("number", [None, "583231", True, 1.5])
def test_a_github_user_without_a_number_signs_nobody_in(client, site, provider, number):
    provider.github_user = {"id": number, "login": "octocat"}
    response = sign_in(client, provider, "github")
    assert (response.status_code, response.context["code"]) == (502, "server_error")


@pytest.mark.parametrize("iss", [None, "https://github.com/login/oauth"])
def test_github_may_or_may_not_send_iss(client, site, provider, iss):
    answer = provider.authorize(start(client, "github")["Location"])
    del answer["iss"]
    answer |= {"iss": iss} if iss else {}
    assert come_back(client, answer, "github").status_code == 302


# A project's own


class OwnProvider(Provider):
    """A provider that needs no network."""

    label = "Own"
    optional = (*Provider.optional, "greeting")
    in_transaction: bool | None = None

    def endpoints(self) -> Endpoints:
        base = self.options["greeting"]
        return Endpoints(authorization=f"{base}/authorize", token=f"{base}/token")

    def identity(
        self, session: Any, endpoints: Endpoints, tokens: Tokens, *, nonce: str
    ) -> Identity:
        OwnProvider.in_transaction = connection.in_atomic_block
        return Identity("7", "seven@example.com", None, {"nonce": nonce})


@pytest.fixture
def own(site: Any, provider: Any) -> None:
    provider.discovery = {
        "token_endpoint_auth_methods_supported": ["client_secret_post"]
    }
    site.CROSSAUTH_PROVIDERS["own"] = {
        "BACKEND": "tests.oauth.test_providers.OwnProvider",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "greeting": provider.issuer,
    }


def test_a_class_of_the_projects_own_signs_in(client, own, provider):
    assert signed_in(client, provider, "own").provider_user_id == "7"


@pytest.mark.django_db(transaction=True)
def test_no_provider_is_asked_inside_a_transaction(client, own, provider, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert sign_in(client, provider, "own").status_code == 302
    assert OwnProvider.in_transaction is False


def test_a_label_of_the_settings_wins(site):
    from crossauth_django.oauth.registry import list_providers

    site.CROSSAUTH_PROVIDERS["acme"]["name"] = "ACME GmbH"
    labels = [provider.label for provider in list_providers()]
    assert labels == ["ACME GmbH", "Other", "Google", "GitHub"]


def test_only_what_is_needed_is_asked_for(client, site):
    scopes = {
        name: parse_qs(urlsplit(start(client, name)["Location"]).query)["scope"][0]
        for name in ("google", "github")
    }
    assert scopes == {
        "google": "openid profile email",
        "github": "read:user user:email",
    }
