"""An OAuth and OpenID provider that really listens, strict by default, wrong on demand."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CLIENT_ID, CLIENT_SECRET = "client one", "s3cret+/%&"


class Reply(NamedTuple):
    """What is sent instead of the right answer."""

    status: int
    body: Any
    headers: dict[str, str] = {}


class Request(NamedTuple):
    """What arrived."""

    path: str
    form: dict[str, str]
    headers: dict[str, str]


# Gets the handler and may write to it what it wants; returns None when it has.
Answer = Callable[[Any], "Reply | None"]


class Key(NamedTuple):
    """A signing key and its public half."""

    kid: str
    algorithm: str
    private: Any
    jwk: dict[str, Any]


@functools.cache
def make_key(kid: str = "first", algorithm: str = "ES256") -> Key:
    """Return a key of the kind that ``algorithm`` needs, the same one for the same arguments."""
    private: Any
    if algorithm.startswith("ES"):
        private = ec.generate_private_key(ec.SECP256R1())
        jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = rsa.generate_private_key(65537, 2048)
        jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return Key(kid, algorithm, private, {**jwk, "kid": kid, "use": "sig"})


class Provider:
    """The provider's state: what a test changes, and what it finds afterwards."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = make_key()
        self.published = [self.key]
        self.discovery: dict[str, Any] = {}
        """Overrides of the discovery document; None removes a member."""
        self.claims: dict[str, Any] = {}
        """Overrides of the ID token's claims; None removes one."""
        self.token: dict[str, Any] = {}
        """Overrides of the token response; None removes a member."""
        self.headers: dict[str, Any] = {}
        """Additional headers of the ID token."""
        self.sign: Callable[[dict[str, Any]], str] = self._sign
        self.user = {
            "sub": "248289761001",
            "email": "jane@example.com",
            "email_verified": True,
            "name": "Jane",
        }
        self.userinfo: dict[str, Any] = {}
        """Overrides of the userinfo response."""
        self.github_user: Any = {"id": 583231, "login": "octocat", "email": "x@x.com"}
        self.github_emails: Any = [
            {"email": "old@example.com", "primary": False, "verified": True},
            {"email": "octocat@example.com", "primary": True, "verified": True},
        ]
        self.answers: dict[str, Answer] = {}
        """What a path answers instead of the right thing."""
        self.cache_control = ""
        self.requests: list[Request] = []
        self.connections = 0
        self.closing = threading.Event()
        self._codes: dict[str, dict[str, str]] = {}
        self._access_tokens: set[str] = set()
        self._lock = threading.Lock()

    def asked(self, path: str) -> int:
        """Count the requests for ``path``."""
        return sum(request.path == path for request in self.requests)

    def authorize(self, url: str) -> dict[str, str]:
        """Do what a person does at the authorization endpoint; return what comes back."""
        query = dict(parse_qsl(urlsplit(url).query))
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._codes[code] = query
        return {"code": code, "state": query["state"], "iss": self.issuer}

    def rotate(self, kid: str = "second", algorithm: str = "ES256") -> None:
        """Sign with another key from now on, and publish it alone."""
        self.key = make_key(kid, algorithm)
        self.published = [self.key]

    def answer(self, handler: Any) -> Reply | None:
        path = handler.request.path
        if path in self.answers:
            return self.answers[path](handler)
        right: dict[str, Callable[[Request], Reply]] = {
            "/.well-known/openid-configuration": self._discovery,
            "/jwks": self._jwks,
            "/token": self._token,
            "/userinfo": self._userinfo,
            "/login/oauth/access_token": self._token,
            "/api/v3/user": lambda r: self._resource(r, self.github_user),
            "/api/v3/user/emails": lambda r: self._resource(r, self.github_emails),
        }
        found = right.get(path)
        return Reply(404, {}) if found is None else found(handler.request)

    def _discovery(self, request: Request) -> Reply:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_response_iss_parameter_supported": True,
        }
        return Reply(200, _changed(document, self.discovery), self._caching())

    def _jwks(self, request: Request) -> Reply:
        keys = [key.jwk for key in self.published]
        return Reply(200, {"keys": keys}, self._caching())

    def _caching(self) -> dict[str, str]:
        return {"Cache-Control": self.cache_control} if self.cache_control else {}

    def _token(self, request: Request) -> Reply:
        if self._client(request) != (CLIENT_ID, CLIENT_SECRET):
            return Reply(401, {"error": "invalid_client"})
        with self._lock:
            begun = self._codes.pop(request.form.get("code", ""), None)
        verifier = request.form.get("code_verifier", "")
        if (
            begun is None
            or request.form.get("grant_type") != "authorization_code"
            or begun["redirect_uri"] != request.form.get("redirect_uri")
            or begun["code_challenge"] != _s256(verifier)
        ):
            return Reply(400, {"error": "invalid_grant", "error_description": "<b>no"})
        access_token = secrets.token_urlsafe(16)
        self._access_tokens.add(access_token)
        body = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "openid email",
        }
        if "nonce" in begun:
            body["id_token"] = self.sign(self._claims(begun, access_token))
        return Reply(200, _changed(body, self.token))

    def _claims(self, begun: dict[str, str], access_token: str) -> dict[str, Any]:
        now = int(time.time())
        name = f"sha{self.key.algorithm[-3:]}".replace("shaDSA", "sha512")
        hashed = hashlib.new(name, access_token.encode()).digest()
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            "at_hash": _base64(hashed[: len(hashed) // 2]),
            **self.user,
        }
        return _changed(claims, self.claims)

    def _sign(self, claims: dict[str, Any]) -> str:
        headers = _changed({"kid": self.key.kid}, self.headers)
        # Of jwt only the signature: jwt.encode() refuses some of the wrong claims.
        body = json.dumps(claims).encode()
        key = self.key
        return jwt.PyJWS().encode(body, key.private, key.algorithm, headers)

    def _userinfo(self, request: Request) -> Reply:
        return self._resource(request, _changed(self.user, self.userinfo))

    def _resource(self, request: Request, body: Any) -> Reply:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._access_tokens:
            return Reply(401, {"error": "invalid_token"})
        return Reply(200, body)

    def _client(self, request: Request) -> tuple[str, str]:
        header = request.headers.get("authorization", "")
        methods = self.discovery.get("token_endpoint_auth_methods_supported")
        if header.startswith("Basic ") and "client_secret" not in request.form:
            plain = base64.b64decode(header[6:]).decode()
            name, _, secret = plain.partition(":")
            return unquote_plus(name), unquote_plus(secret)
        if methods is None and request.path == "/token":
            return "", ""  # Discovery section 3: only Basic, unless announced
        return request.form.get("client_id", ""), request.form.get("client_secret", "")


@contextmanager
def running_provider(folder: Path, *, tls: bool = True) -> Iterator[Provider]:
    """Listen on a free port of this machine; ``folder/ca.pem`` is who signed the certificate."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls:
        authority = _authority()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    scheme = "https" if tls else "http"
    provider = Provider(f"{scheme}://127.0.0.1:{server.server_port}")
    server.provider = provider
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


class _Server(ThreadingHTTPServer):
    provider: Provider
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body are two writes; without this the second waits for an acknowledgement.
    disable_nagle_algorithm = True
    timeout = 30
    server: _Server
    request: Any

    def setup(self) -> None:
        super().setup()
        self.server.provider.connections += 1

    def do_GET(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self._handle(dict(parse_qsl(self.rfile.read(length).decode())))

    def _handle(self, form: dict[str, str]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request = Request(urlsplit(self.path).path, form, headers)
        self.server.provider.requests.append(self.request)
        reply = self.server.provider.answer(self)
        if reply is not None:
            self.reply(reply)

    def reply(self, reply: Reply) -> None:
        body = reply.body
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


def _changed(body: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = {**body, **overrides}
    return {name: value for name, value in merged.items() if value is not None}


def _s256(verifier: str) -> str:
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
