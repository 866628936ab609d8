"""What a person's browser does, around Django's test client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from django.core.cache import caches
from django.test import Client

if TYPE_CHECKING:
    from tests.provider import Provider


def start(client: Client, name: str = "acme", **data: str) -> Any:
    """Press the button."""
    return client.post(f"/auth/oauth/{name}/login/", data, secure=True)


def come_back(client: Client, answer: dict[str, str], name: str = "acme") -> Any:
    """Follow the provider's redirect."""
    return client.get(f"/auth/oauth/{name}/callback/", answer, secure=True)


def sign_in(client: Client, provider: Provider, name: str = "acme", **data: str) -> Any:
    """Press the button, agree at the provider, come back."""
    answer = provider.authorize(start(client, name, **data)["Location"])
    return come_back(client, answer, name)


def post_back(client: Client, answer: dict[str, str], name: str = "acme") -> Any:
    """Send what the provider's page has in a form, as ``response_mode=form_post`` does."""
    return client.post(f"/auth/oauth/{name}/callback/", answer, secure=True)


def query_of(response: Any) -> dict[str, str]:
    """Return the authorization request that a redirect carries."""
    query = parse_qs(urlsplit(response["Location"]).query)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def refused(response: Any, code: str = "invalid_state", status: int = 400) -> bool:
    """Say that the sign-in ended on the page for failures, or fail."""
    assert response.status_code == status, response.content
    assert code in response.content.decode()
    return True


def use_cache(site: Any, alias: str) -> None:
    """Keep the short-lived state in another cache, empty now."""
    site.CROSSAUTH_CACHE_ALIAS = alias
    caches[alias].clear()
