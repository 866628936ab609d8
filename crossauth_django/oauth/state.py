"""What is remembered between the authorization request and its response.

A sign-in has two secrets: ``state`` travels through the provider, ``browser`` stays in a cookie
of the browser that began. The PKCE verifier and the nonce are made from both, so neither is ever
stored; what is stored is sealed. A dump of the store completes nobody's sign-in.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.views.decorators.debug import sensitive_variables

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.exceptions import EncryptionError, StateMismatchError
from crossauth_django.stores import get_store

COOKIE_PREFIX = "crossauth_oauth_"
# Codes of some providers have 2,000 characters; nothing honest is longer than this.
MAX_PARAMETER_LENGTH = 4_096


@dataclass(frozen=True)
class Attempt:
    """One sign-in on its way; its repr, which ends up in error reports, shows no secret."""

    provider: str
    state: str = field(repr=False)
    browser: str = field(repr=False)
    redirect_uri: str
    next_path: str | None

    @property
    def verifier(self) -> str:
        """The PKCE code verifier, 64 characters (RFC 7636 section 4.1)."""
        return crypto.keyed_digest("oauth.verifier", self.state, key=self.browser)

    @property
    def nonce(self) -> str:
        """The nonce of the ID token (OpenID Connect Core section 3.1.2.1)."""
        return crypto.keyed_digest("oauth.nonce", self.state, key=self.browser)


@dataclass(frozen=True)
class AuthorizationResponse:
    """The parameters that a provider sends back (RFC 6749 section 4.1.2, RFC 9207)."""

    state: str = field(default="", repr=False)
    code: str = field(default="", repr=False)
    iss: str | None = None
    error: str = ""

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> AuthorizationResponse:
        """Take what we know from a query or a form. Raise ``StateMismatchError`` for junk."""
        known = {
            name: parameters[name]
            for name in ("state", "code", "iss", "error")
            if name in parameters
        }
        if any(len(value) > MAX_PARAMETER_LENGTH for value in known.values()):
            raise StateMismatchError("a parameter is too long")
        return cls(**known)


@sensitive_variables()
def begin(provider: str, *, redirect_uri: str, next_path: str | None = None) -> Attempt:
    """Remember a new attempt for ``CROSSAUTH_OAUTH_STATE_TTL``."""
    attempt = Attempt(
        provider=provider,
        state=crypto.new_secret(),
        browser=crypto.new_secret(),
        redirect_uri=redirect_uri,
        next_path=next_path,
    )
    kept = {
        "provider": provider,
        "browser": crypto.digest(attempt.browser),
        "redirect_uri": redirect_uri,
        "next_path": next_path,
    }
    _put(_key(attempt.state), attempt.state, kept)
    return attempt


@sensitive_variables()
def claim(provider: str, state: str, browser: str | None) -> Attempt:
    """Return the attempt to exactly one caller, and only to the browser that began it.

    Raise ``StateMismatchError`` when it is unknown, used, expired, another provider's or
    another browser's; the last two leave it as it is, for the right one to finish.
    """
    kept = _get(_key(state), state)
    if (
        kept is None
        or browser is None
        or kept["provider"] != provider
        or not hmac.compare_digest(kept["browser"], crypto.digest(browser))
        # Several callbacks with one state: the store hands it to one of them.
        or get_store().pop(_key(state)) is None
    ):
        raise StateMismatchError("no such attempt of this browser")
    return Attempt(
        provider=provider,
        state=state,
        browser=browser,
        redirect_uri=kept["redirect_uri"],
        next_path=kept["next_path"],
    )


def cookie_name(state: str, *, secure: bool) -> str:
    """Return the cookie of one attempt, so that tabs do not overwrite each other's."""
    prefix = "__Host-" if secure else ""
    return f"{prefix}{COOKIE_PREFIX}{crypto.digest(state)[:16]}"


@sensitive_variables()
def stash(provider: str, response: AuthorizationResponse) -> str:
    """Keep a response that came without cookies; return the handle that opens it again.

    A cross-site POST brings no ``SameSite=Lax`` cookie, so the browser is sent back to us with
    a GET. Only for attempts that are on their way: strangers cannot fill the store.
    """
    kept = _get(_key(response.state), response.state)
    if kept is None or kept["provider"] != provider:
        raise StateMismatchError("no such attempt")
    handle = crypto.new_secret()
    _put(_stash_key(handle), handle, asdict(response))
    return handle


@sensitive_variables()
def unstash(handle: str) -> AuthorizationResponse:
    """Return a stashed response; used once, because its state is. Raise ``StateMismatchError``."""
    kept = _get(_stash_key(handle), handle)
    if kept is None:
        raise StateMismatchError("no such response")
    return AuthorizationResponse(**kept)


def forget_stash(handle: str) -> None:
    """Forget a stashed response."""
    get_store().delete(_stash_key(handle))


def _put(key: str, secret: str, value: Mapping[str, Any]) -> None:
    sealed = crypto.seal("oauth.state", secret, json.dumps(value))
    get_store().set(key, sealed, conf.CROSSAUTH_OAUTH_STATE_TTL.total_seconds())


def _get(key: str, secret: str) -> dict[str, Any] | None:
    sealed = get_store().get(key)
    if sealed is None:
        return None
    try:
        value: dict[str, Any] = json.loads(crypto.unseal("oauth.state", secret, sealed))
    except EncryptionError:
        # Not ours, or sealed under a SECRET_KEY that is gone.
        return None
    return value


def _key(state: str) -> str:
    return f"oauth:state:{state}"


def _stash_key(handle: str) -> str:
    return f"oauth:response:{handle}"
