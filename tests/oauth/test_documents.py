from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.test import Client

from crossauth_django.exceptions import ProviderError
from crossauth_django.oauth import documents
from crossauth_django.stores import get_store
from tests.concurrency import run_together
from tests.oauth.browser import come_back, sign_in, start
from tests.provider import Provider, Reply

DISCOVERY = "/.well-known/openid-configuration"


def nothing(document: dict[str, Any]) -> None:
    pass


def fetch(provider: Provider, path: str = "/jwks") -> Any:
    return documents.get_document(f"{provider.issuer}{path}", nothing)


def refetch(url: str, known: Any) -> Any:
    return documents.refetch_document(url, nothing, known=known)


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", 3_600),
        ("no-store", 3_600),
        ("public, max-age=1", 300),
        ("max-age=0", 300),
        ("public, max-age=1200, must-revalidate", 1_200),
        ("max-age=999999999", 86_400),
        ("max-age=99999999999999999999", 3_600),
        ("max-age=soon", 3_600),
    ],
)
def test_a_document_is_kept_between_five_minutes_and_a_day(
    provider, cache_control, seconds
):
    provider.cache_control = cache_control
    now = time.time()
    fetch(provider)
    with time_machine.travel(now + seconds - 30):
        fetch(provider)
        assert provider.asked("/jwks") == 1
    with time_machine.travel(now + seconds + 30):
        fetch(provider)
        assert provider.asked("/jwks") == 2


@pytest.mark.parametrize("alias", ["default", "redis"])
def test_all_workers_share_one_copy(site, provider, alias):
    site.CROSSAUTH_CACHE_ALIAS = alias
    caches[alias].clear()
    first = fetch(provider)
    assert run_together(4, lambda: fetch(provider)) == [first] * 4
    assert provider.asked("/jwks") == 1


def test_what_somebody_else_wrote_into_the_store_is_fetched_anew(provider):
    right = fetch(provider)
    url = f"oauth:document:{provider.issuer}/jwks"
    for forged in ('{"keys": []}', f"{'0' * 64} {{}}", "", " ", "é {}"):
        get_store().set(url, forged, 60)
        assert fetch(provider) == right


def test_one_address_is_not_served_for_another(provider):
    fetch(provider)
    stored = get_store().get(f"oauth:document:{provider.issuer}/jwks")
    assert stored is not None
    get_store().set(f"oauth:document:{provider.issuer}{DISCOVERY}", stored, 60)
    assert "issuer" in fetch(provider, DISCOVERY)


def test_a_document_that_is_refused_is_not_kept(provider):
    def refuse(document: dict[str, Any]) -> None:
        raise ProviderError("no")

    url = f"{provider.issuer}/jwks"
    with pytest.raises(ProviderError):
        documents.get_document(url, refuse)
    fetch(provider)
    assert provider.asked("/jwks") == 2
    with pytest.raises(ProviderError):
        documents.get_document(url, refuse)  # nor believed from the store


def test_a_refetch_happens_once_a_minute(provider):
    url = f"{provider.issuer}/jwks"
    fresh = refetch(url, {})
    assert refetch(url, fresh) is None
    with time_machine.travel(time.time() + 61):
        assert refetch(url, fresh) == fresh
    assert provider.asked("/jwks") == 2


def test_who_read_before_a_refetch_gets_what_it_brought(provider):
    url = f"{provider.issuer}/jwks"
    stale = fetch(provider)
    provider.rotate()
    fresh = refetch(url, stale)
    assert refetch(url, stale) == fresh != stale
    assert provider.asked("/jwks") == 2


def test_a_refetch_that_fails_is_not_repeated_at_once(provider):
    provider.answers["/jwks"] = lambda handler: Reply(500, {})
    url = f"{provider.issuer}/jwks"
    with pytest.raises(ProviderError):
        refetch(url, {})
    assert refetch(url, {}) is None
    assert provider.asked("/jwks") == 1


@pytest.mark.parametrize("alias", ["default", "redis"])
def test_workers_wait_for_the_one_that_refetches(site, provider, alias):
    site.CROSSAUTH_CACHE_ALIAS = alias
    caches[alias].clear()
    arrived = threading.Event()

    def slowly(handler: Any) -> Reply:
        arrived.wait(0.3)
        return provider._jwks(handler.request)

    provider.answers["/jwks"] = slowly
    url = f"{provider.issuer}/jwks"
    results = run_together(8, lambda: refetch(url, {}))
    assert provider.asked("/jwks") == 1
    assert [result["keys"][0]["kid"] for result in results] == ["first"] * 8


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alias", ["default", "redis"])
def test_a_new_key_lets_all_in_who_come_at_the_same_moment(site, provider, alias):
    site.CROSSAUTH_CACHE_ALIAS = alias
    caches[alias].clear()
    for number in range(3):
        sign_in(Client(), provider)
        provider.rotate(f"key {number}")
        get_store().delete(f"oauth:refetch:{provider.issuer}/jwks")
        begun = []
        for _ in range(8):
            client = Client()
            begun.append((client, provider.authorize(start(client)["Location"])))
        before = provider.asked("/jwks")

        def callback(begun: Any = begun) -> int:
            client, answer = begun.pop()
            return int(come_back(client, answer).status_code)

        assert run_together(8, callback) == [302] * 8
        assert provider.asked("/jwks") == before + 1


# Discovery


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": None},
        {"issuer": ["x"]},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "http://evil.example.com/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"token_endpoint": "http://evil.example.com/token"},
        {"token_endpoint": 7},
        {"jwks_uri": None},
        {"jwks_uri": "http://evil.example.com/jwks"},
        {"userinfo_endpoint": "http://evil.example.com/userinfo"},
        {"userinfo_endpoint": ["x"]},
    ],
    ids=repr,
)
def test_a_wrong_discovery_document_starts_nothing(client, site, provider, discovery):
    provider.discovery = discovery
    response = start(client)
    assert (response.status_code, response.context["code"]) == (502, "server_error")
    assert not client.cookies


def test_an_issuer_with_a_slash_more_is_another_issuer(client, site, provider):
    site.CROSSAUTH_PROVIDERS["acme"]["issuer"] += "/"
    assert start(client).status_code == 502
    provider.discovery = {"issuer": f"{provider.issuer}/"}
    assert start(client).status_code == 302


def test_discovery_is_asked_once_for_many(client, site, provider):
    for _ in range(3):
        start(client)
    assert provider.asked(DISCOVERY) == 1


def test_what_is_kept_is_json(provider):
    fetch(provider)
    stored = get_store().get(f"oauth:document:{provider.issuer}/jwks")
    assert stored is not None
    assert json.loads(stored.partition(" ")[2])["keys"]
