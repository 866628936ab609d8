"""Speaks HTTP with providers: bounded in time and size, every failure with a name.

Importing this module imports requests; whoever needs it imports it when it is needed.
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote_plus, urlsplit

import requests
from django.views.decorators.debug import sensitive_variables
from oauthlib.oauth2 import OAuth2Error
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session
from urllib3.exceptions import HTTPError

from crossauth_django.conf import conf
from crossauth_django.exceptions import ProviderError
from crossauth_django.oauth.codes import known_code
from crossauth_django.oauth.providers.base import Tokens, is_allowed_url

MAX_RESPONSE_BYTES = 512 * 1024

T = TypeVar("T", dict[str, Any], list[Any])

# It logs codes, secrets and tokens at DEBUG. Whoever sets a level on it has asked for that;
# a project that merely debugs everything has not.
_library_log = logging.getLogger("requests_oauthlib.oauth2_session")
_library_log.setLevel(_library_log.level or logging.INFO)


class Document(NamedTuple):
    """A public JSON document, and for how many seconds its server lets it be kept."""

    body: dict[str, Any]
    max_age: int | None


class ProviderSession:
    """One conversation with a provider over one ``OAuth2Session``, closed at its end.

    Every call waits at most ``CROSSAUTH_PROVIDER_TIMEOUT``, reads at most 512 KiB, follows no
    redirect, and raises ``ProviderError``: with the provider's own error code when it refuses,
    ``temporarily_unavailable`` when it cannot be reached, and ``server_error`` for nonsense.
    """

    def __init__(self, client_id: str = "", redirect_uri: str | None = None) -> None:
        self._client_id = client_id
        self._http = OAuth2Session(client_id, redirect_uri=redirect_uri)
        # A redirect could carry the secret or the token to another host.
        self._http.max_redirects = 0
        self._http.headers["Accept"] = "application/json"
        self._http.headers["Accept-Encoding"] = "identity"
        self._http.mount("https://", _Adapter())
        self._http.register_compliance_hook(
            "access_token_response", _require_token_response
        )

    def __enter__(self) -> ProviderSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    @sensitive_variables()
    def exchange_code(
        self,
        url: str,
        *,
        code: str,
        verifier: str,
        client_secret: str,
        basic_auth: bool,
    ) -> Tokens:
        """Swap an authorization code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

        Later calls of ``get_json`` carry the access token.
        """
        with _failures_named():
            answer = self._http.fetch_token(
                self._address(url),
                code=code,
                code_verifier=verifier,
                timeout=_timeout(),
                **self._credentials(client_secret, basic_auth=basic_auth),
            )
        return _tokens(answer)

    @sensitive_variables()
    def get_json(self, url: str, kind: type[T]) -> T:
        """Return the JSON object (``dict``) or array (``list``) at ``url``."""
        with _failures_named():
            response = self._http.get(self._address(url), timeout=_timeout())
        return _parse(_accepted(response), kind)

    def get_document(self, url: str) -> Document:
        """Return a public document, with how long it may be kept (RFC 9111 section 5.2.2.1)."""
        with _failures_named():
            response = self._http.request(
                "GET", self._address(url), timeout=_timeout(), withhold_token=True
            )
        age = re.search(
            r"\bmax-age=(\d{1,9})\b", response.headers.get("Cache-Control", "")
        )
        return Document(_parse(_accepted(response), dict), age and int(age[1]))

    def _credentials(self, secret: str, *, basic_auth: bool) -> dict[str, Any]:
        if not basic_auth:
            return {"include_client_id": True, "client_secret": secret}
        # Form-encoded first, says RFC 6749 section 2.3.1; requests does not.
        name = quote_plus(self._client_id)
        return {"auth": HTTPBasicAuth(name, quote_plus(secret))}

    def _address(self, url: str) -> str:
        if not is_allowed_url(url):
            raise ProviderError("the address is not https", code="server_error")
        parts = urlsplit(url)
        if parts.scheme == "https":
            return url
        # OAuth2Session refuses http:// unless an environment variable lifts that for the whole
        # process. So it sees https, and the adapter of this one loopback host takes it back.
        self._http.mount(f"https://{parts.netloc}/", _PlainAdapter())
        return parts._replace(scheme="https").geturl()


class _Adapter(HTTPAdapter):
    """Reads the whole answer, as far as it is small and comes in time."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        deadline = time.monotonic() + _timeout()
        response = super().send(request, *args, **kwargs)
        raw = response.raw
        try:
            response.raw = io.BytesIO(_read(raw, deadline))
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            raw.release_conn()
        return response


class _PlainAdapter(_Adapter):
    """Speaks http to a loopback host that is called https above."""

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        request.url = f"http{str(request.url).removeprefix('https')}"
        return super().send(request, *args, **kwargs)


def _read(raw: Any, deadline: float) -> bytes:
    # A timeout of requests is for each packet: a server that sends one byte a second would
    # hold the worker for days. read1 returns with what is there (urllib3 2).
    read = getattr(raw, "read1", raw.read)
    body = b""
    while chunk := read(16 * 1024):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES or time.monotonic() > deadline:
            raw.close()
            raise ProviderError("the answer is too long or too slow")
    return body


def _timeout() -> float:
    return conf.CROSSAUTH_PROVIDER_TIMEOUT.total_seconds()


@contextmanager
def _failures_named() -> Iterator[None]:
    try:
        yield
    except (requests.ConnectionError, requests.Timeout) as error:
        raise ProviderError(type(error).__name__) from error
    except (
        requests.RequestException,
        OAuth2Error,
        # oauthlib lets what it cannot convert escape; it also raises bare Warnings.
        ArithmeticError,
        AttributeError,
        TypeError,
        ValueError,
        Warning,
    ) as error:
        raise ProviderError(type(error).__name__, code="server_error") from error


def _accepted(response: requests.Response) -> requests.Response:
    if response.status_code == 200:
        return response
    if response.status_code == 429 or response.status_code >= 500:
        raise ProviderError(f"status {response.status_code}")
    raise ProviderError(f"status {response.status_code}", code="server_error")


def _require_token_response(response: requests.Response) -> requests.Response:
    # GitHub refuses with 200 and an "error"; others with 400 or 401 (RFC 6749 section 5.2).
    if response.status_code in {200, 400, 401, 403}:
        body = _parse(response, dict)
        if "error" in body:
            raise ProviderError(
                "the token endpoint refuses", code=known_code(body["error"])
            )
        token_type = body.get("token_type", "bearer")
        if not isinstance(token_type, str) or token_type.lower() != "bearer":
            raise ProviderError("not a bearer token", code="server_error")
    return _accepted(response)


def _parse(response: requests.Response, kind: type[T]) -> T:
    try:
        value = json.loads(response.content, parse_constant=_refuse)
        # Databases and JSON columns take neither NUL nor half a surrogate pair.
        text = json.dumps(value, ensure_ascii=False)
        text.encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ProviderError("the answer is not JSON", code="server_error") from error
    if not isinstance(value, kind) or "\\u0000" in text:
        raise ProviderError("the answer has the wrong shape", code="server_error")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _tokens(answer: dict[str, Any]) -> Tokens:
    for name in ("access_token", "refresh_token", "id_token"):
        if not isinstance(answer.get(name, ""), str):
            raise ProviderError(f"{name} is not text", code="server_error")
    seconds = answer.get("expires_in")
    return Tokens(
        access_token=answer["access_token"],
        refresh_token=answer.get("refresh_token"),
        access_token_expires_at=_in(seconds) if isinstance(seconds, int) else None,
        scope=" ".join(answer.get("scope") or ()) or None,
        id_token=answer.get("id_token"),
    )


def _in(seconds: int) -> datetime:
    # A year is as good as for ever, and no number overflows.
    bounded = timedelta(seconds=max(0, min(seconds, 366 * 86_400)))
    return datetime.now(tz=timezone.utc) + bounded
