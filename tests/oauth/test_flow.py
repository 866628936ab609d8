from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.contrib.auth import get_user, get_user_model
from django.core.cache import caches
from django.test import Client, RequestFactory
from django.views.debug import ExceptionReporter

from crossauth_django.crypto import code_challenge
from crossauth_django.stores import get_store
from tests.concurrency import run_together
from tests.oauth.browser import come_back, sign_in, start
from tests.provider import Reply

pytestmark = pytest.mark.django_db


def use_cache(site: Any, alias: str) -> None:
    site.CROSSAUTH_CACHE_ALIAS = alias
    caches[alias].clear()


def query_of(response: Any) -> dict[str, str]:
    query = parse_qs(urlsplit(response["Location"]).query)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


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


# State


def refused(response: Any, code: str = "invalid_state", status: int = 400) -> bool:
    assert response.status_code == status, response.content
    assert code in response.content.decode()
    return True


def test_a_state_is_used_once(client, site, provider):
    response = start(client)
    answer = provider.authorize(response["Location"])
    cookies = client.cookies.copy()
    assert come_back(client, answer).status_code == 302
    client.cookies = cookies
    assert refused(come_back(client, answer))
    assert provider.asked("/token") == 1


def test_another_browser_is_refused_and_does_not_burn_the_sign_in(site, provider):
    owner, thief = Client(), Client()
    answer = provider.authorize(start(owner)["Location"])
    start(thief)
    assert refused(come_back(thief, answer))
    assert not get_user(thief).is_authenticated
    assert come_back(owner, answer).status_code == 302
    assert get_user(owner).is_authenticated


def test_another_browsers_cookie_value_does_not_help(site, provider):
    owner, thief = Client(), Client()
    answer = provider.authorize(start(owner)["Location"])
    start(thief)
    [stolen_name], [own] = owner.cookies.keys(), thief.cookies.values()
    thief.cookies[stolen_name] = own.value
    assert refused(come_back(thief, answer))
    assert come_back(owner, answer).status_code == 302


def test_another_providers_callback_is_refused_and_does_not_burn_it(
    client, site, provider
):
    answer = provider.authorize(start(client, "acme")["Location"])
    assert refused(come_back(client, answer, "other"))
    assert come_back(client, answer, "acme").status_code == 302


def test_two_tabs_of_one_browser_both_finish(client, site, provider):
    first = provider.authorize(start(client, next="/first/")["Location"])
    second = provider.authorize(start(client, next="/second/")["Location"])
    assert come_back(client, first)["Location"] == "/first/"
    assert come_back(client, second)["Location"] == "/second/"


def test_two_tabs_at_two_providers_both_finish(client, site, provider):
    first = provider.authorize(start(client, "acme")["Location"])
    second = provider.authorize(start(client, "github")["Location"])
    assert come_back(client, second, "github").status_code == 302
    assert come_back(client, first, "acme").status_code == 302


def test_after_ten_minutes_it_is_too_late(client, site, provider):
    answer = provider.authorize(start(client)["Location"])
    with time_machine.travel(time.time() + 601):
        assert refused(come_back(client, answer))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"code": "x"},
        {"state": "", "code": "x"},
        {"state": "unknown", "code": "x"},
        {"state": "x" * 5000, "code": "x"},
        {"state": "\0", "code": "x"},
        {"resume": "unknown"},
        {"resume": ""},
    ],
)
def test_what_nobody_asked_for_is_refused(client, site, answer):
    start(client)
    assert refused(come_back(client, answer))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alias", ["default", "redis"])
def test_of_64_callbacks_with_one_state_one_signs_in(site, provider, alias):
    use_cache(site, alias)
    for number in range(5):
        client = Client()
        provider.user = {"sub": f"{number}", "email": f"{number}@example.com"}
        answer = provider.authorize(start(client)["Location"])
        cookies = client.cookies

        def callback(answer: Any = answer, cookies: Any = cookies) -> int:
            other = Client()
            other.cookies = cookies.copy()
            return int(come_back(other, answer).status_code)

        assert sorted(run_together(64, callback)) == [302] + [400] * 63
    assert provider.asked("/token") == 5


def test_a_dump_of_the_store_holds_no_secret_of_a_sign_in(client, site, provider):
    response = start(client, next="/private/")
    answer = provider.authorize(response["Location"])
    client.post("/auth/oauth/acme/callback/", answer, secure=True)
    [cookie] = client.cookies.values()
    query = query_of(response)
    dump = repr(caches["default"]._cache)
    assert "crossauth:" in dump
    for secret in (cookie.value, query["state"], query["nonce"], answer["code"]):
        assert secret not in dump
    assert "/private/" not in dump


def test_what_somebody_else_wrote_into_the_store_is_not_believed(
    client, site, provider
):
    answer = provider.authorize(start(client)["Location"])
    forged = {"provider": "acme", "browser": "", "redirect_uri": "", "next_path": ""}
    get_store().set(f"oauth:state:{answer['state']}", json.dumps(forged), 60)
    assert refused(come_back(client, answer))


def create_nobody(**kwargs: Any) -> Any:
    raise RuntimeError("a project's own mistake")


def test_an_error_report_shows_no_secret_of_a_sign_in(client, site, provider):
    site.CROSSAUTH_CREATE_USER = "tests.oauth.test_flow.create_nobody"
    answer = provider.authorize(start(client)["Location"])
    [cookie] = client.cookies.values()
    location = post_back(Client(), answer)["Location"]
    with pytest.raises(RuntimeError) as caught:
        client.get(location, secure=True)
    request = RequestFactory().get("/")
    trace = caught.value, caught.tb
    report = ExceptionReporter(request, caught.type, *trace).get_traceback_html()
    [form] = [r.form for r in provider.requests if r.path == "/token"]
    secrets = [cookie.value, answer["state"], answer["code"], form["code_verifier"]]
    secrets += provider._access_tokens
    assert "create_nobody" in report
    # Frames of the test and of its client know everything.
    ours = report[report.index("crossauth_django/oauth/flow.py") :]
    assert [secret for secret in secrets if secret in ours] == []


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


def post_back(client: Client, answer: dict[str, str], name: str = "acme") -> Any:
    return client.post(f"/auth/oauth/{name}/callback/", answer, secure=True)


def test_a_provider_whose_discovery_is_down_starts_nothing(client, site, provider):
    provider.answers["/.well-known/openid-configuration"] = unavailable
    response = start(client)
    assert refused(response, "temporarily_unavailable", 503)
    assert response["Retry-After"] == "5"
    assert not client.cookies


def unavailable(handler: Any) -> Reply:
    return Reply(503, {})
