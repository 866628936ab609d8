from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user

from crossauth_django.crypto import code_challenge
from crossauth_django.exceptions import ProviderError
from crossauth_django.oauth.client import MAX_RESPONSE_BYTES, ProviderSession
from crossauth_django.oauth.providers.base import Tokens, is_allowed_url
from tests.oauth.browser import come_back, sign_in, start
from tests.provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    Answer,
    Provider,
    Reply,
    running_provider,
)

pytestmark = pytest.mark.django_db

# Every request that a sign-in makes.
PATHS = [
    ("acme", "/.well-known/openid-configuration"),
    ("acme", "/token"),
    ("acme", "/jwks"),
    ("acme", "/userinfo"),
    ("github", "/login/oauth/access_token"),
    ("github", "/api/v3/user"),
    ("github", "/api/v3/user/emails"),
]


def answering(status: int, body: Any, **headers: str) -> Answer:
    return lambda handler: Reply(status, body, headers)


def failure(client: Any, site: Any, provider: Provider, name: str) -> tuple[int, str]:
    """Sign in with an ID token that needs userinfo; return status and code of the page."""
    provider.claims["email"] = None
    response = start(client, name)
    if response.status_code == 302:
        answer = provider.authorize(response["Location"])
        response = come_back(client, answer, name)
    assert not get_user(client).is_authenticated
    assert response["Cache-Control"] == "no-store"
    return response.status_code, response.context["code"]


@pytest.mark.parametrize(("name", "path"), [PATHS[n] for n in (0, 1, 3, 6)])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answering(200, b"<html>Log in to the wifi"), (502, "server_error")),
        (answering(200, b""), (502, "server_error")),
        (answering(200, b"\xff\xfe"), (502, "server_error")),
        (answering(200, "text"), (502, "server_error")),
        (answering(200, b"[" * 100_000), (502, "server_error")),
        (answering(200, b'{"a": NaN}'), (502, "server_error")),
        (answering(200, {"a": "\0"}), (502, "server_error")),
        (answering(200, b'{"a": "\\ud800"}'), (502, "server_error")),
        (answering(404, {}), (502, "server_error")),
        (answering(400, b"<html>"), (502, "server_error")),
        (answering(429, {}), (503, "temporarily_unavailable")),
        (answering(500, b"Traceback"), (503, "temporarily_unavailable")),
        (answering(502, {}), (503, "temporarily_unavailable")),
    ],
    ids=[str(n) for n in range(13)],
)
def test_every_answer_that_is_not_right_has_a_name(
    client, site, provider, name, path, answer, expected
):
    provider.answers[path] = answer
    assert failure(client, site, provider, name) == expected


@pytest.mark.parametrize(("name", "path"), PATHS)
def test_no_answer_is_read_beyond_its_limit(client, site, provider, name, path):
    provider.answers[path] = answering(200, b'{"a":"' + b"x" * MAX_RESPONSE_BYTES)
    code = "temporarily_unavailable"
    assert failure(client, site, provider, name) == (503, code)


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize(("name", "path"), PATHS)
def test_no_redirect_is_followed(
    client, site, provider, name, path, status, tmp_path_factory
):
    with running_provider(tmp_path_factory.mktemp("elsewhere")) as elsewhere:
        provider.answers[path] = answering(status, {}, Location=elsewhere.issuer)
        assert failure(client, site, provider, name) == (502, "server_error")
        assert elsewhere.requests == []


def hang(handler: Any) -> None:
    handler.server.provider.closing.wait(30)
    handler.close_connection = True


def drip(handler: Any) -> None:
    # Each byte comes in time; all of them would take a minute.
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n")
    for _ in range(600):
        handler.wfile.write(b" ")
        if handler.server.provider.closing.wait(0.1):
            break
    handler.close_connection = True


def hang_up(handler: Any) -> None:
    handler.close_connection = True


def break_off(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{")
    handler.close_connection = True


def talk_nonsense(handler: Any) -> None:
    handler.wfile.write(b"hello\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.parametrize("answer", [hang, drip])
def test_nobody_waits_longer_than_the_setting(
    client, site, provider, name, path, answer
):
    provider.answers[path] = answer
    if path != "/.well-known/openid-configuration" and name == "acme":
        start(client)  # discovery, and the imports, do not count
    site.CROSSAUTH_PROVIDER_TIMEOUT = timedelta(milliseconds=300)
    begun = time.monotonic()
    code = "temporarily_unavailable"
    assert failure(client, site, provider, name) == (503, code)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("answer", [hang_up, break_off, talk_nonsense])
@pytest.mark.parametrize(("name", "path"), PATHS)
def test_a_connection_that_breaks_is_unavailable(
    client, site, provider, name, path, answer
):
    provider.answers[path] = answer
    code = "temporarily_unavailable"
    assert failure(client, site, provider, name) == (503, code)


def test_a_provider_that_is_not_there_is_unavailable(client, site):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    site.CROSSAUTH_PROVIDERS["acme"]["issuer"] = f"https://127.0.0.1:{port}"
    response = start(client)
    assert response.context["code"] == "temporarily_unavailable"


def test_a_certificate_that_nobody_vouches_for_is_refused(
    client, site, provider, monkeypatch
):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert start(client).status_code == 503
    assert provider.requests == []


# The token endpoint


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, "invalid_grant", "invalid_grant"),
        (401, "invalid_client", "invalid_client"),
        (200, "bad_verification_code", "bad_verification_code"),
        (400, "<b>their words</b>", "server_error"),
        (400, ["invalid_grant"], "server_error"),
    ],
)
def test_a_refusal_keeps_the_providers_error_code(
    client, site, provider, status, error, code
):
    body = {"error": error, "error_description": "their words"}
    provider.answers["/token"] = answering(status, body)
    assert failure(client, site, provider, "acme") == (502, code)


@pytest.mark.parametrize(
    "token",
    [
        {"access_token": None},
        {"access_token": 7},
        {"refresh_token": {}},
        {"id_token": ["x"]},
        {"token_type": "mac"},
        {"token_type": 7},
        {"scope": 7},
        {"expires_in": "soon"},
        {"expires_in": {}},
    ],
    ids=repr,
)
def test_a_token_response_of_the_wrong_shape_signs_nobody_in(
    client, site, provider, token
):
    provider.token = token
    assert failure(client, site, provider, "acme") == (502, "server_error")


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (3600, 3600),
        ("60", 60),
        (None, None),
        (10**30, 366 * 86_400),
        (-5, 0),
    ],
)
def test_the_lifetime_of_an_access_token_is_read_and_bounded(
    provider, expires_in, expected
):
    provider.token = {"expires_in": expires_in}
    now = datetime.now(tz=timezone.utc)
    expires_at = exchanged(provider).access_token_expires_at
    if expected is None:
        assert expires_at is None
    else:
        assert expires_at is not None
        assert abs((expires_at - now).total_seconds() - expected) < 30


@pytest.mark.parametrize(
    ("scope", "expected"), [("openid email", "openid email"), (None, None), ("", None)]
)
def test_the_scope_that_was_granted_is_kept(provider, scope, expected):
    provider.token = {"scope": scope}
    assert exchanged(provider).scope == expected


def exchanged(provider: Provider) -> Tokens:
    verifier = "v" * 43
    challenge = code_challenge(verifier)
    uri = "https://testserver/"
    query = (
        f"client_id={CLIENT_ID}&response_type=code&code_challenge_method=S256"
        f"&code_challenge={challenge}&redirect_uri={uri}&state=s"
    )
    code = provider.authorize(f"{provider.issuer}/authorize?{query}")["code"]
    with ProviderSession(CLIENT_ID, uri) as session:
        return session.exchange_code(
            f"{provider.issuer}/token",
            code=code,
            verifier=verifier,
            client_secret=CLIENT_SECRET,
            basic_auth=True,
        )


@pytest.mark.parametrize(
    ("methods", "in_header"),
    [
        (None, True),
        (["client_secret_basic"], True),
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_post"], False),
        ("client_secret_post", True),  # not a list, so nothing is announced
        (7, True),
    ],
)
def test_the_secret_goes_where_the_provider_wants_it(
    client, site, provider, methods, in_header
):
    provider.discovery = {"token_endpoint_auth_methods_supported": methods}
    assert sign_in(client, provider).status_code == 302
    [request] = [r for r in provider.requests if r.path == "/token"]
    assert ("authorization" in request.headers) is in_header
    assert ("client_secret" in request.form) is not in_header


def test_one_connection_carries_the_exchange_and_the_questions_after_it(
    client, site, provider
):
    assert sign_in(client, provider, "github").status_code == 302
    assert len(provider.requests) == 3
    assert provider.connections == 1


def test_public_documents_are_asked_for_without_the_token(client, site, provider):
    sign_in(client, provider)
    [request] = [r for r in provider.requests if r.path == "/jwks"]
    assert "authorization" not in request.headers


def test_no_answer_is_asked_for_in_a_compressed_form(client, site, provider):
    # A few kilobytes may unpack to gigabytes, and nothing here unpacks.
    sign_in(client, provider)
    encodings = {request.headers["accept-encoding"] for request in provider.requests}
    assert encodings == {"identity"}


def test_netrc_adds_nothing(client, site, provider, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password stolen\n")
    monkeypatch.setenv("NETRC", str(netrc))
    site.CROSSAUTH_PROVIDERS["acme"]["scope"] = "openid"
    assert sign_in(client, provider).status_code == 302
    public = [r for r in provider.requests if r.path in {"/jwks", "/token"}]
    assert not any("cm9vd" in r.headers.get("authorization", "") for r in public)


# Logs


def test_no_secret_is_logged_even_when_everything_is_debugged(
    client, site, provider, caplog
):
    caplog.set_level(logging.DEBUG)
    provider.claims["email"] = None
    response = start(client)
    answer = provider.authorize(response["Location"])
    [cookie] = [c.value for c in client.cookies.values()]
    come_back(client, answer)
    start(client)
    come_back(client, answer)
    [form] = [r.form for r in provider.requests if r.path == "/token"]
    assert "invalid_state" in caplog.text
    secrets = [answer["code"], form["code_verifier"], cookie, CLIENT_SECRET]
    secrets += provider._access_tokens
    assert [secret for secret in secrets if secret in caplog.text] == []


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https://a.example:8443/x?y=z",
        "http://localhost:9400",
        "http://127.0.0.1/x",
        "http://[::1]:1/",
    ],
)
def test_https_and_this_machine_are_allowed(url):
    assert is_allowed_url(url)


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "a.example",
        "http://a.example",
        "http://127.0.0.1.a.example",
        "http://localhost.a.example",
        "http://user@localhost",
        "https://user:password@a.example",
        "https://a.example/#fragment",
        "https://",
        "https://a.example:port",
        "https://[::1",
        "https://a.example/a b",
        "https://a.example/\n",
        "ftp://localhost",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
def test_everything_else_is_not(url):
    assert not is_allowed_url(url)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Provider]:
    with running_provider(tmp_path, tls=False) as provider:
        yield provider


def test_a_provider_on_this_machine_needs_no_tls(client, site, plain):
    site.CROSSAUTH_PROVIDERS["acme"]["issuer"] = plain.issuer
    plain.claims["email"] = None
    assert sign_in(client, plain).status_code == 302
    assert plain.asked("/userinfo") == 1


def test_elsewhere_http_is_never_spoken(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with ProviderSession() as session, pytest.raises(ProviderError) as caught:
        session.get_json("http://example.com/", dict)
    assert caught.value.code == "server_error"


def test_importing_the_urls_imports_no_http_and_no_cryptography():
    program = (
        "import os, sys, django; django.setup(); import crossauth_django.urls; "
        "print([m for m in ('requests', 'requests_oauthlib', 'oauthlib', 'jwt', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
