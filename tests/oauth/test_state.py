from __future__ import annotations

import json
import time
from typing import Any

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.contrib.auth import get_user
from django.core.cache import caches
from django.test import Client

from crossauth_django.stores import get_store
from tests.concurrency import run_together
from tests.oauth.browser import (
    come_back,
    post_back,
    query_of,
    refused,
    start,
    use_cache,
)
from tests.reports import report_of

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
def test_no_parameter_is_longer_than_an_honest_one(client, site, provider, name):
    answer = provider.authorize(start(client)["Location"])
    assert refused(come_back(client, {**answer, name: "x" * 4097}))
    assert provider.asked("/token") == 0
    assert come_back(client, answer).status_code == 302


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
    site.CROSSAUTH_CREATE_USER = "tests.oauth.test_state.create_nobody"
    site.CROSSAUTH_STORE_PROVIDER_TOKENS = True
    site.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    provider.token = {"refresh_token": "a refresh token"}
    answer = provider.authorize(start(client)["Location"])
    [cookie] = client.cookies.values()
    location = post_back(Client(), answer)["Location"]
    with pytest.raises(RuntimeError) as caught:
        client.get(location, secure=True)
    report = report_of(caught)
    [form] = [r.form for r in provider.requests if r.path == "/token"]
    secrets = [cookie.value, answer["state"], answer["code"], form["code_verifier"]]
    secrets += [*provider._access_tokens, "a refresh token"]
    assert "in make_by_factory: " in report
    assert [secret for secret in secrets if secret in report] == []
