from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user, get_user_model
from django.core.cache import caches
from django.test import Client

from crossauth_django.crypto import code_challenge
from tests.oauth.browser import (
    come_back,
    post_back,
    query_of,
    refused,
    sign_in,
    start,
    use_cache,
)
from tests.provider import Reply

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("alias", ["default", "redis"])
@pytest.mark.parametrize("name", ["acme", "google", "github"])
def test_a_stranger_signs_in_at_a_provider(client, site, provider, name, alias):
    use_cache(site, alias)
    response = sign_in(client, provider, name)
    assert (response.status_code, response["Location"]) == (302, "/welcome/")
    assert get_user(client).is_authenticated


def test_coming_again_finds_the_same_user(site, provider):
    first, second = Client(), Client()
    sign_in(first, provider)
    provider.user["email"] = "moved@example.com"
    sign_in(second, provider)
    assert get_user(first) == get_user(second)
    assert get_user_model().objects.count() == 1


def test_another_subject_is_another_user(site, provider):
    first, second = Client(), Client()
    sign_in(first, provider)
    provider.user = {"sub": "somebody else", "email": "joe@example.com"}
    sign_in(second, provider)
    assert get_user(second).is_authenticated
    assert get_user(first) != get_user(second)


def test_one_subject_at_two_providers_is_two_identities(site, provider):
    first, second = Client(), Client()
    sign_in(first, provider, "acme")
    provider.user["email"] = "joe@example.com"
    sign_in(second, provider, "other")
    assert get_user(second).is_authenticated
    assert get_user(first) != get_user(second)


# The authorization request


def test_the_request_is_for_a_code_with_s256_and_the_exact_redirect_uri(client, site):
    query = query_of(start(client))
    assert query["response_type"] == "code"
    assert query["code_challenge_method"] == "S256"
    assert len(query["code_challenge"]) == 43
    assert query["redirect_uri"] == "https://testserver/auth/oauth/acme/callback/"
    assert query["scope"] == "openid profile email"
    assert query["tenant"] == "1"  # the endpoint's own query stays


def test_state_nonce_and_challenge_are_new_each_time_and_long(client, site):
    queries = [query_of(start(client)) for _ in range(3)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({query[name] for query in queries}) == 3
        assert min(len(query[name]) for query in queries) >= 43


def test_the_verifier_is_64_unreserved_characters(client, site, provider):
    response = start(client)
    come_back(client, provider.authorize(response["Location"]))
    [form] = [r.form for r in provider.requests if r.path == "/token"]
    assert len(form["code_verifier"]) == 64
    assert form["code_verifier"].isalnum()
    assert code_challenge(form["code_verifier"]) == query_of(response)["code_challenge"]


def test_oauth_without_openid_has_pkce_and_no_nonce(client, site):
    query = query_of(start(client, "github"))
    assert query["code_challenge_method"] == "S256"
    assert "nonce" not in query


def test_the_scope_of_the_settings_wins(client, site):
    site.CROSSAUTH_PROVIDERS["acme"]["scope"] = "openid groups"
    assert query_of(start(client))["scope"] == "openid groups"


def test_the_base_url_of_the_settings_makes_the_redirect_uri(client, site, provider):
    site.CROSSAUTH_BASE_URL = "https://www.example.com/"
    response = start(client)
    redirect_uri = "https://www.example.com/auth/oauth/acme/callback/"
    assert query_of(response)["redirect_uri"] == redirect_uri
    assert (
        come_back(client, provider.authorize(response["Location"])).status_code == 302
    )


# The authorization response


@pytest.mark.parametrize("name", ["acme", "google"])
@pytest.mark.parametrize("iss", [None, "", "https://evil.example.com"])
def test_an_issuer_that_announces_iss_must_send_its_own(
    client, site, provider, name, iss
):
    answer = provider.authorize(start(client, name)["Location"])
    del answer["iss"]
    answer |= {} if iss is None else {"iss": iss}
    assert refused(come_back(client, answer, name), "invalid_issuer", 502)
    assert provider.asked("/token") == 0


def test_an_issuer_that_announces_nothing_need_not_send_iss(client, site, provider):
    provider.discovery = {"authorization_response_iss_parameter_supported": None}
    answer = provider.authorize(start(client)["Location"])
    del answer["iss"]
    assert come_back(client, answer).status_code == 302


def test_a_wrong_iss_is_refused_also_when_none_was_announced(client, site, provider):
    provider.discovery = {"authorization_response_iss_parameter_supported": None}
    answer = provider.authorize(start(client)["Location"])
    assert refused(
        come_back(client, {**answer, "iss": f"{provider.issuer}/"}),
        "invalid_issuer",
        502,
    )


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        ("access_denied", "access_denied", 403),
        ("login_required", "login_required", 403),
        ("invalid_scope", "invalid_scope", 502),
        ("server_error", "server_error", 502),
        ("temporarily_unavailable", "temporarily_unavailable", 503),
        ("<script>alert(1)</script>", "server_error", 502),
    ],
)
def test_an_error_response_becomes_a_page_without_the_providers_text(
    client, site, provider, error, code, status
):
    answer = provider.authorize(start(client)["Location"])
    del answer["code"]
    answer |= {"error": error, "error_description": "their words"}
    response = come_back(client, answer)
    assert refused(response, code, status)
    assert b"their words" not in response.content
    assert b"<script>" not in response.content
    assert provider.asked("/token") == 0


def test_neither_code_nor_error_is_a_failure_of_the_provider(client, site, provider):
    answer = provider.authorize(start(client)["Location"])
    del answer["code"]
    assert refused(come_back(client, answer), "server_error", 502)


def test_a_failed_sign_in_is_over(client, site, provider):
    answer = provider.authorize(start(client)["Location"])
    refused(come_back(client, {**answer, "error": "access_denied"}), "denied", 403)
    assert refused(come_back(client, answer))


def test_a_code_of_another_sign_in_does_not_fit_the_verifier(site, provider):
    # Code injection: PKCE makes the provider refuse (RFC 9700 section 4.5).
    victim, attacker = Client(), Client()
    stolen = provider.authorize(start(victim)["Location"])
    own = provider.authorize(start(attacker)["Location"])
    response = come_back(attacker, {**own, "code": stolen["code"]})
    assert refused(response, "invalid_grant", 502)
    assert not get_user(attacker).is_authenticated


# response_mode=form_post


def test_a_form_post_comes_back_once_more_with_the_cookies(site, provider):
    site.CROSSAUTH_PROVIDERS["acme"]["response_mode"] = "form_post"
    browser, without_cookies = Client(), Client()
    response = start(browser)
    assert query_of(response)["response_mode"] == "form_post"
    answer = provider.authorize(response["Location"])
    posted = post_back(without_cookies, answer)
    assert posted.status_code == 303
    assert answer["code"] not in posted["Location"]
    assert answer["state"] not in posted["Location"]
    assert browser.get(posted["Location"], secure=True)["Location"] == "/welcome/"
    assert get_user(browser).is_authenticated


def test_the_handle_of_a_form_post_works_once(site, provider):
    browser = Client()
    answer = provider.authorize(start(browser)["Location"])
    location = post_back(Client(), answer)["Location"]
    cookies = browser.cookies.copy()
    assert browser.get(location, secure=True).status_code == 302
    browser.cookies = cookies
    assert refused(browser.get(location, secure=True))


def test_a_form_post_leaves_nothing_in_the_store(site, provider):
    sign_in(Client(), provider)
    before = len(caches["default"]._cache)
    browser = Client()
    answer = provider.authorize(start(browser)["Location"])
    location = post_back(Client(), answer)["Location"]
    assert len(caches["default"]._cache) > before
    assert browser.get(location, secure=True).status_code == 302
    assert len(caches["default"]._cache) == before


def test_the_handle_of_a_form_post_is_no_use_in_another_browser(site, provider):
    browser, thief = Client(), Client()
    answer = provider.authorize(start(browser)["Location"])
    location = post_back(Client(), answer)["Location"]
    assert refused(thief.get(location, secure=True))
    assert browser.get(location, secure=True).status_code == 302


@pytest.mark.parametrize("name", ["acme", "other"])
def test_a_form_post_that_nobody_waits_for_is_not_kept(site, provider, name):
    answer = provider.authorize(start(Client())["Location"])
    if name == "acme":
        answer["state"] = "unknown"
    before = len(caches["default"]._cache)
    assert refused(post_back(Client(), answer, name))
    assert len(caches["default"]._cache) == before


def test_a_provider_whose_discovery_is_down_starts_nothing(client, site, provider):
    provider.answers["/.well-known/openid-configuration"] = unavailable
    response = start(client)
    assert refused(response, "temporarily_unavailable", 503)
    assert response["Retry-After"] == "5"
    assert not client.cookies


def unavailable(handler: Any) -> Reply:
    return Reply(503, {})
