"""The real cross-auth over our storages; its own tox cells install it, one for each release."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import secrets
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from tests.accounts.conftest import keep_tokens

if importlib.util.find_spec("cross_auth") is None:
    collect_ignore_glob = ["test_*.py"]
    RELEASE = ""
else:
    RELEASE = importlib.metadata.version("cross-auth")
    with warnings.catch_warnings(action="ignore"):
        # Its libraries' deprecations are not ours to mend.
        importlib.import_module("cross_auth.fastapi")
        importlib.import_module("fastapi.testclient")

__all__ = ["keep_tokens"]

CLIENT = "https://client.example/callback"


class SmallProvider:
    """An OAuth 2.0 provider that listens; ``person`` signs in there without being asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.person: dict[str, Any] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}

    def authorize(self, query: dict[str, str]) -> str:
        code = secrets.token_hex(8)
        self.codes[code] = {**query, "person": self.person}
        values = {"code": code, "state": query["state"]}
        return f"{query['redirect_uri']}?{urlencode(values)}"

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        attempt = self.codes.pop(form["code"], None)
        if attempt is None or attempt["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        token = secrets.token_hex(8)
        self.tokens[token] = attempt["person"]
        values = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": f"refresh-{token}",
            "scope": "email",
        }
        return 200, values


class _Handler(BaseHTTPRequestHandler):
    provider: SmallProvider

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/authorize":
            location = self.provider.authorize(dict(parse_qsl(query)))
            self._answer(302, {}, Location=location)
        else:
            token = self.headers["Authorization"].removeprefix("Bearer ")
            self._answer(200, self.provider.tokens[token])

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = dict(parse_qsl(self.rfile.read(length).decode()))
        self._answer(*self.provider.token(form))


@pytest.fixture
def provider() -> Iterator[SmallProvider]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    small = SmallProvider(f"http://127.0.0.1:{server.server_port}")
    small.person = person()
    server.RequestHandlerClass = type("Handler", (_Handler,), {"provider": small})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield small
    server.shutdown()
    server.server_close()
    thread.join()


def person(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "email": f"Person{number}@example.org",
        "email_verified": True,
        "name": "Ada",
        **changes,
    }


class Site:
    """A FastAPI application with ``CrossAuth``, and one browser."""

    def __init__(
        self, application: Any, provider: SmallProvider, crossauth: Any
    ) -> None:
        from fastapi.testclient import TestClient

        self.provider = provider
        self.crossauth = crossauth
        self.browser = TestClient(
            application, base_url="http://site.example", follow_redirects=False
        )
        self.user_id: Any = None

    def come_back(self, authorization_url: str) -> Any:
        """Go to the provider and return the site's answer to its redirect."""
        import httpx

        location = httpx.get(authorization_url).headers["location"]
        return self.browser.get(location.removeprefix("http://site.example"))

    def authorize(self, verifier: str) -> dict[str, str]:
        """Walk a client application's sign-in; return what its redirect URI gets."""
        query = {
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": CLIENT,
            "state": "client state",
            **challenge(verifier),
        }
        started = self.browser.get("/acme/authorize", params=query)
        finished = self.come_back(started.headers["location"])
        assert finished.status_code == 302, finished.text
        return received(finished)

    def token(self, code: str, verifier: str) -> Any:
        return self.browser.post(
            "/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CLIENT,
                "client_id": "app",
                "code_verifier": verifier,
            },
        )

    def sign_in(self) -> str:
        """Sign the provider's person in and return the user's id, from the token."""
        verifier = secrets.token_urlsafe(48)
        answer = self.token(self.authorize(verifier)["code"], verifier)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"]).removeprefix("token of ")

    def link(self, **body: Any) -> Any:
        """Connect the provider's person to the signed-in user."""
        verifier = secrets.token_urlsafe(48)
        started = self.browser.post(
            "/acme/link",
            json={"redirect_uri": CLIENT, "client_id": "app", **challenge(verifier)},
        )
        finished = self.come_back(started.json()["authorization_url"])
        values = {
            "link_code": received(finished)["link_code"],
            "code_verifier": verifier,
            **body,
        }
        return self.browser.post("/acme/finalize-link", json=values)


def challenge(verifier: str) -> dict[str, str]:
    from crossauth_django.crypto import code_challenge

    return {
        "code_challenge": code_challenge(verifier),
        "code_challenge_method": "S256",
    }


def received(response: Any) -> dict[str, str]:
    query = parse_qs(urlsplit(response.headers["location"]).query)
    return {name: values[0] for name, values in query.items()}


def error_of(response: Any) -> str:
    """The error that a refusal names, in a redirect or in its body."""
    if response.is_redirect:
        return received(response)["error"]
    return str(response.json()["error"])


def make_site(provider: SmallProvider, **options: Any) -> Site:
    """``options`` go to ``CrossAuth``; a session storage may be among them."""
    from cross_auth.fastapi import CrossAuth
    from cross_auth.social_providers.oauth import OAuth2Provider
    from fastapi import FastAPI

    from crossauth_django.storage import AccountsStorage, SecondaryStorage

    class Acme(OAuth2Provider):
        id = "acme"
        authorization_endpoint = f"{provider.url}/authorize"
        token_endpoint = f"{provider.url}/token"
        user_info_endpoint = f"{provider.url}/userinfo"
        scopes = ["email"]
        supports_pkce = True

    accounts = AccountsStorage()
    site: Site
    options.setdefault(
        "get_user_from_request", lambda request: accounts.find_user_by_id(site.user_id)
    )
    crossauth = CrossAuth(
        providers=[Acme("client", "secret", trust_email=False)],
        storage=SecondaryStorage(),
        accounts_storage=accounts,
        base_url="http://site.example",
        **_release_options(),
        **options,
    )
    application = FastAPI()
    application.include_router(crossauth.router)
    site = Site(application, provider, crossauth)
    return site


def _release_options() -> dict[str, Any]:
    if RELEASE.startswith("0.12."):
        return {
            "create_token": lambda user_id: (f"token of {user_id}", 3600),
            "trusted_origins": ["client.example"],
            "config": {
                "account_linking": {"enabled": True, "allow_different_emails": True}
            },
        }
    from cross_auth import OAuthClient, OAuthServer

    clients = {"app": OAuthClient(client_id="app", redirect_uris=(CLIENT,))}
    server = OAuthServer(
        get_client=clients.get,
        token_issuer=lambda request: (f"token of {request.user_id}", 3600),
    )
    return {
        "oauth_server": server,
        "config": {
            "account_linking": {"enabled": True, "allow_different_emails": True}
        },
    }


@pytest.fixture
def site(provider: SmallProvider) -> Site:
    return make_site(provider)
