from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.core.cache import caches
from django.db import connections
from django.test import Client

from tests.accounts.conftest import make_user

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def site(settings: Any) -> Any:
    """A site whose sessions are ours, on Redis; tests change what they are about."""
    settings.SESSION_ENGINE = "crossauth_django.sessions"
    settings.CROSSAUTH_CACHE_ALIAS = "redis"
    settings.ROOT_URLCONF = "tests.sessions.urls"
    settings.CSRF_USE_SESSIONS = True
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "crossauth_django.middleware.BearerTokenMiddleware",
    ]
    settings.LOGIN_URL = "/login/"
    settings.LOGIN_REDIRECT_URL = "/whoami/"
    return settings


@pytest.fixture
def user(db: None) -> Any:
    return make_user("ann@example.org", PASSWORD)


@pytest.fixture
def browser(user: Any) -> Client:
    """A browser in which the user has signed in by the form."""
    return sign_in(user)


@pytest.fixture
def empty_redis() -> Iterator[None]:
    caches["redis"].clear()
    yield
    caches["redis"].clear()


def sign_in(user: Any, **fields: str) -> Client:
    """Sign in by Django's own view, and return the browser."""
    client = Client(
        HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    )
    answer = client.post(
        "/login/", {"username": user.get_username(), "password": PASSWORD, **fields}
    )
    assert answer.status_code == 302, answer.content
    return client


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a loop of its own, and close the connections of that loop's thread."""

    async def closing() -> Any:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(closing())


def whoami(client: Client) -> str:
    """Who the site says is signed in; empty for nobody."""
    answer = client.get("/whoami/")
    assert answer.status_code == 200
    return str(answer.content.decode())


async def asgi_request(
    browser: Client,
    path: str,
    fields: dict[str, str] | None = None,
    *,
    client: tuple[str, int] | None = None,
    agent: bytes = b"",
) -> tuple[int, bytes]:
    """Send what the browser would send to an ASGI server; return the status and the body."""
    body = urlencode(fields or {}).encode()
    key = browser.cookies["sessionid"].value
    headers = [
        (b"host", b"testserver"),
        (b"cookie", f"sessionid={key}".encode()),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
        (b"user-agent", agent),
    ]
    scope = {"type": "http", "method": "POST" if fields else "GET", "path": path}
    scope |= {"headers": headers, "query_string": b"", "http_version": "1.1"}
    server = ApplicationCommunicator(
        get_asgi_application(), {**scope, "client": client}
    )
    await server.send_input({"type": "http.request", "body": body})
    start = await server.receive_output(10)
    answer = await server.receive_output(10)
    await server.wait(10)
    return start["status"], answer["body"]
