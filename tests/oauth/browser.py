"""What a person's browser does, around Django's test client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
