"""Discovery documents and key sets, kept in the store for all workers."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.oauth.client import ProviderSession
from crossauth_django.stores import get_store

# Seconds. Whatever Cache-Control says: a key that was withdrawn is not believed for longer
# than a day, and an issuer that says no-store is not asked at every sign-in.
MIN_TTL, DEFAULT_TTL, MAX_TTL = 300, 3_600, 86_400
REFETCH_INTERVAL = 60

Check: TypeAlias = Callable[[dict[str, Any]], None]


def get_document(url: str, check: Check) -> dict[str, Any]:
    """Return the document at ``url``, from the store while it is fresh.

    ``check`` raises for a document that must not be used; such a one is never kept. Raise
    ``ProviderError`` when it is not there and cannot be fetched.
    """
    document = _stored(url)
    if document is None:
        return _fetch(url, check)
    check(document)
    return document


def refetch_document(
    url: str, check: Check, *, known: dict[str, Any]
) -> dict[str, Any] | None:
    """Return a newer document than ``known``, which seems stale; None when there is none.

    Fetches at most once in 60 s, whatever the number of workers, so that forged tokens make no
    traffic. Who comes while another worker fetches waits for what that one brings.
    """
    store, marker = get_store(), f"oauth:refetch:{url}"
    if store.add(marker, "fetching", REFETCH_INTERVAL):
        try:
            return _fetch(url, check)
        finally:
            store.set(marker, "done", REFETCH_INTERVAL)
    deadline = time.monotonic() + conf.CROSSAUTH_PROVIDER_TIMEOUT.total_seconds()
    while store.get(marker) == "fetching" and time.monotonic() < deadline:
        time.sleep(0.02)
    # Or the other was done before we asked, and after we had read ours.
    document = _stored(url)
    return None if document == known else document


def _stored(url: str) -> dict[str, Any] | None:
    stored = get_store().get(_key(url)) or ""
    signature, _, text = stored.partition(" ")
    # Who can write to the cache must not get to name our token endpoint.
    expected = _signature(url, text).encode("ascii")
    # As bytes: text that is not ASCII cannot be compared, and would be an error of ours.
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected):
        return None
    document: dict[str, Any] = json.loads(text)
    return document


def _fetch(url: str, check: Check) -> dict[str, Any]:
    with ProviderSession() as session:
        document, max_age = session.get_document(url)
    check(document)
    ttl = DEFAULT_TTL if max_age is None else min(max(max_age, MIN_TTL), MAX_TTL)
    text = json.dumps(document)
    get_store().set(_key(url), f"{_signature(url, text)} {text}", ttl)
    return document


def _key(url: str) -> str:
    return f"oauth:document:{url}"


def _signature(url: str, text: str) -> str:
    return crypto.keyed_digest("oauth.document", f"{url} {text}")
