from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.template import Context, RequestContext, Template
from django.test import AsyncClient, Client, RequestFactory
from django.utils.functional import Promise, lazystr

from crossauth_django import views
from crossauth_django.exceptions import (
    AccountError,
    AccountMissingError,
    EmailMissingError,
)
from tests.accounts.conftest import make_user
from tests.oauth.browser import come_back, sign_in, start
from tests.services import free_port
from tests.test_backends import ClosingBackend

pytestmark = pytest.mark.django_db


# Methods and forgeries


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options"])
def test_only_a_post_starts_a_sign_in(client, site, provider, method):
    response = getattr(client, method)("/auth/oauth/acme/login/", secure=True)
    assert response.status_code == 405
    assert not client.cookies
    assert provider.requests == []


@pytest.mark.parametrize("method", ["head", "put", "delete", "options"])
def test_a_callback_is_a_get_or_a_form_post(client, site, provider, method):
    answer = provider.authorize(start(client)["Location"])
    url = f"/auth/oauth/acme/callback/?code={answer['code']}&state={answer['state']}"
    assert getattr(client, method)(url, secure=True).status_code == 405
    assert come_back(client, answer).status_code == 302


def test_another_site_cannot_start_a_sign_in(site, provider):
    client = Client(enforce_csrf_checks=True)
    assert start(client).status_code == 403
    assert provider.requests == []


def test_a_form_post_of_the_provider_needs_no_csrf_token(site, provider):
    client = Client(enforce_csrf_checks=True)
    response = client.post("/auth/oauth/acme/callback/", {"state": "x"}, secure=True)
    assert response.context["code"] == "invalid_state"


@pytest.mark.parametrize("page", ["login", "callback"])
def test_an_unknown_provider_is_not_found(client, site, page):
    url = f"/auth/oauth/nobody/{page}/"
    assert client.post(url, secure=True).status_code == 404


def test_who_is_not_signed_in_may_sign_in_where_every_page_needs_it(site, provider):
    site.MIDDLEWARE = [
        *site.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    assert sign_in(Client(), provider)["Location"] == "/welcome/"
    assert Client().get("/auth/unlock/unknown/").status_code == 400


# Headers and cookies


def test_no_answer_is_kept_or_told_to_others(client, site, provider):
    started = start(client)
    finished = come_back(client, provider.authorize(started["Location"]))
    failed = come_back(client, {"state": "x"})
    for response in (started, finished, failed):
        assert response["Cache-Control"] == "no-store"
        assert response["Referrer-Policy"] == "same-origin"


def test_code_and_state_are_not_in_the_address_where_it_ends(client, site, provider):
    assert sign_in(client, provider)["Location"] == "/welcome/"


def test_the_cookie_of_an_attempt_is_for_this_host_over_tls_only(client, site):
    start(client)
    [cookie] = client.cookies.values()
    assert re.fullmatch(r"__Host-crossauth_oauth_[0-9a-f]{16}", cookie.key)
    assert cookie["secure"]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"]) == ("Lax", "/")
    assert cookie["domain"] == ""
    assert cookie["max-age"] == 600
    assert len(cookie.value) == 43


def test_the_cookie_lives_as_long_as_the_state(client, site):
    site.CROSSAUTH_OAUTH_STATE_TTL = timedelta(minutes=2)
    start(client)
    [cookie] = client.cookies.values()
    assert cookie["max-age"] == 120


def test_without_tls_a_sign_in_works_too(client, site, provider):
    response = client.post("/auth/oauth/acme/login/")
    [cookie] = client.cookies.values()
    assert cookie.key.startswith("crossauth_oauth_")
    assert not cookie["secure"]
    answer = provider.authorize(response["Location"])
    response = client.get("/auth/oauth/acme/callback/", answer)
    assert response["Location"] == "/welcome/"


def test_behind_a_proxy_the_base_url_decides_what_is_secure(client, site, provider):
    site.CROSSAUTH_BASE_URL = "https://testserver"
    response = client.post("/auth/oauth/acme/login/")
    [cookie] = client.cookies.values()
    assert cookie.key.startswith("__Host-")
    client.cookies[cookie.key]["secure"] = ""  # the proxy speaks http with us
    answer = provider.authorize(response["Location"])
    response = client.get("/auth/oauth/acme/callback/", answer)
    assert response["Location"] == "/welcome/"


@pytest.mark.parametrize("error", [None, "access_denied"])
def test_the_cookie_goes_when_the_attempt_is_over(client, site, provider, error):
    answer = provider.authorize(start(client)["Location"])
    [name] = client.cookies
    answer |= {"error": error} if error else {}
    come_back(client, answer)
    gone = client.cookies[name]
    assert (gone.value, gone["max-age"], gone["path"]) == ("", 0, "/")
    assert gone["secure"]  # or the browser would not accept a __Host- cookie


def test_a_browser_has_ten_attempts_and_forgets_the_oldest(site, provider):
    kept: dict[str, str] = {}  # in the order in which a browser sends them
    for _ in range(12):
        oldest = next(iter(kept), None)
        client, header = Client(), "; ".join(f"{n}={v}" for n, v in kept.items())
        client.post("/auth/oauth/acme/login/", secure=True, headers={"cookie": header})
        for name, cookie in client.cookies.items():
            kept |= {name: cookie.value}
            if cookie["max-age"] == 0:
                del kept[name]
                assert name == oldest
        assert len(kept) <= 10
    assert len(kept) == 10


# Where it leads


def test_next_leads_to_a_path_of_this_site(client, site, provider):
    response = sign_in(client, provider, next="/a/b?c=d&e=%2F#f")
    assert response["Location"] == "/a/b?c=d&e=%2F#f"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\tevil",
    ],
)
def test_next_leads_nowhere_else(client, site, provider, path):
    assert sign_in(client, provider, next=path)["Location"] == "/welcome/"


def test_where_it_leads_may_be_the_name_of_a_url(client, site, provider):
    site.LOGIN_REDIRECT_URL = "sign_in_page"
    assert sign_in(client, provider)["Location"] == "/test/sign-in/"


# The session


def test_the_session_is_a_new_one(client, site, provider):
    session = client.session
    session["basket"] = "apples"
    session.save()
    before = session.session_key
    sign_in(client, provider)
    assert client.session.session_key != before
    assert client.session["basket"] == "apples"


def test_nothing_of_another_user_stays_in_the_session(client, site, provider):
    other = make_user("other@example.com")
    client.force_login(other)
    session = client.session
    session["secret"] = "of the other"
    session.save()
    sign_in(client, provider)
    assert "secret" not in client.session
    assert get_user(client) != other


def test_starting_makes_no_session(client, site):
    start(client)
    assert "sessionid" not in client.cookies


def test_a_disabled_user_is_refused(site, provider):
    client = Client()
    sign_in(client, provider)
    user = get_user(client)
    user.is_active = False
    user.save()
    again = Client()
    response = sign_in(again, provider)
    assert (response.status_code, response.context["code"]) == (403, "account_inactive")
    assert SESSION_KEY not in again.session
    assert isinstance(get_user(client), AnonymousUser)


def test_who_the_projects_backend_refuses_is_refused(
    client, site, provider, monkeypatch
):
    site.AUTHENTICATION_BACKENDS = ["tests.test_backends.ClosingBackend"]
    monkeypatch.setattr(ClosingBackend, "is_open", False)
    response = sign_in(client, provider)
    assert (response.status_code, response.context["code"]) == (403, "account_inactive")
    monkeypatch.setattr(ClosingBackend, "is_open", True)
    assert sign_in(client, provider).status_code == 302
    assert get_user(client).is_authenticated


def test_without_the_backend_nothing_is_pretended(client, site, provider):
    answer = provider.authorize(start(client)["Location"])
    site.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    with pytest.raises(ImproperlyConfigured, match="ProviderBackend"):
        come_back(client, answer)
    assert provider.asked("/token") == 0


# Failures


def test_the_page_says_what_to_do_and_where(client, site, provider):
    site.LOGIN_URL = "/sign-in/"
    site.CROSSAUTH_PROVIDERS["acme"]["name"] = "<ACME>"
    response = come_back(client, {"state": "x"})
    page = response.content.decode()
    assert response.status_code == 400
    assert "Please start again." in page
    assert 'href="/sign-in/"' in page
    assert "&lt;ACME&gt;" in page
    assert "invalid_state" in page


def need_address(**kwargs: Any) -> Any:
    raise EmailMissingError("a project may say so too")


def test_who_has_no_address_is_told_what_is_missing(client, site, provider):
    site.CROSSAUTH_CREATE_USER = "tests.test_views.need_address"
    response = sign_in(client, provider)
    assert (response.status_code, response.context["code"]) == (403, "email_missing")
    assert "Allow it to see your address" in response.content.decode()


def test_every_error_of_the_accounts_has_a_text():
    kinds = AccountError.__subclasses__()
    without_a_visitor = {AccountMissingError}
    assert {kind.code for kind in {*kinds} - without_a_visitor} <= set(views._MESSAGES)


def test_every_text_can_be_translated():
    assert all(isinstance(text, Promise) for text in views._MESSAGES.values())


def test_a_store_that_is_down_is_said_so(client, site, provider):
    port = free_port()
    site.CACHES = {
        **site.CACHES,
        "down": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{port}/0",
        },
    }
    site.CROSSAUTH_CACHE_ALIAS = "down"
    for response in (start(client, "github"), come_back(client, {"state": "x"})):
        assert response.status_code == 503
        assert response["Retry-After"] == "5"
        assert response.context["code"] == "store_unavailable"


def test_a_failure_is_logged_with_its_code(client, site, caplog):
    come_back(client, {"state": "x"})
    assert "Sign-in at acme failed: invalid_state" in caplog.text


# Async, and transactions


def test_it_works_under_asgi(site, provider):
    async def walk() -> tuple[int, Any]:
        client = AsyncClient()
        started = await client.post("/auth/oauth/acme/login/")
        answer = provider.authorize(started["Location"])
        finished = await client.get("/auth/oauth/acme/callback/", answer)
        return finished.status_code, await client.asession()

    status, session = async_to_sync(walk)()
    assert status == 302
    assert SESSION_KEY in session


def test_no_database_holds_a_transaction_while_a_provider_is_asked():
    for view in (views.oauth_login, views.oauth_callback):
        assert view._non_atomic_requests == set(connections)


# Buttons


def buttons(site: Any, path: str = "/", **context: Any) -> str:
    request = RequestFactory().get(path)
    template = Template("{% load crossauth %}{% crossauth_providers %}")
    return template.render(RequestContext(request, context))


def test_a_sign_in_page_shows_a_button_for_each_provider(site):
    page = buttons(site)
    assert re.findall(r"Sign in with (\w+)", page) == [
        *("Acme", "Other", "Google", "GitHub")
    ]
    assert page.count('method="post"') == 4
    assert page.count("csrfmiddlewaretoken") == 4
    assert 'action="/auth/oauth/github/login/"' in page
    assert "next" not in page


@pytest.mark.parametrize("how", ["query", "context"])
def test_a_button_leads_where_the_visitor_wanted_to_go(site, how):
    page = (
        buttons(site, "/?next=/a%26b/")
        if how == "query"
        else buttons(site, next="/a&b/")
    )
    assert page.count('name="next" value="/a&amp;b/"') == 4


def test_a_button_leads_to_no_other_site(site):
    assert "evil" not in buttons(site, "/?next=//evil.example/")


@pytest.mark.parametrize("article", [object(), 5, ["/a/"]])
def test_a_page_may_call_something_else_next(site, article):
    assert 'name="next"' not in buttons(site, next=article)


def test_next_may_be_lazy(site):
    assert buttons(site, next=lazystr("/a/")).count('value="/a/"') == 4


def test_buttons_need_no_request(site):
    template = Template("{% load crossauth %}{% crossauth_providers %}")
    assert template.render(Context()).count("<button") == 4


def test_a_button_works(site, provider):
    client = Client(enforce_csrf_checks=True)
    page = client.get("/test/sign-in/?next=/there/", secure=True).content.decode()
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    response = client.post(
        "/auth/oauth/acme/login/",
        fields,
        secure=True,
        headers={"referer": "https://testserver/test/sign-in/"},
    )
    assert response.status_code == 302
    assert "state" in parse_qs(urlsplit(response["Location"]).query)
    answer = provider.authorize(response["Location"])
    assert come_back(client, answer)["Location"] == "/there/"
