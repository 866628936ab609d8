"""Signing in at a provider, from the button to the user: ``start`` and ``finish``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.views.decorators.debug import sensitive_variables

from crossauth_django import accounts, crypto
from crossauth_django.conf import conf
from crossauth_django.exceptions import ProviderError
from crossauth_django.oauth import state
from crossauth_django.oauth.codes import known_code

if TYPE_CHECKING:
    from crossauth_django.oauth.providers.base import (
        Endpoints,
        Identity,
        Provider,
        Tokens,
    )
    from crossauth_django.oauth.state import Attempt, AuthorizationResponse


@dataclass(frozen=True)
class Started:
    """Where to send the browser, and the attempt that its cookie belongs to."""

    url: str
    attempt: Attempt


@dataclass(frozen=True)
class SignedIn:
    """Who signed in, whether the account is new, and where the sign-in was to lead."""

    user: Any
    created: bool
    next_path: str | None


def start(
    provider: Provider, *, redirect_uri: str, next_path: str | None = None
) -> Started:
    """Make the authorization request (RFC 6749 section 4.1.1) with PKCE S256 and state.

    Raise ``ProviderError`` when the provider's discovery document cannot be had.
    """
    endpoints = provider.endpoints()
    attempt = state.begin(provider.name, redirect_uri=redirect_uri, next_path=next_path)
    parameters = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scope,
        "state": attempt.state,
        "code_challenge": crypto.code_challenge(attempt.verifier),
        "code_challenge_method": "S256",
        **provider.authorization_params(nonce=attempt.nonce),
    }
    separator = "&" if "?" in endpoints.authorization else "?"
    url = f"{endpoints.authorization}{separator}{urlencode(parameters)}"
    return Started(url, attempt)


@sensitive_variables("browser")
def finish(
    provider: Provider, response: AuthorizationResponse, *, browser: str | None
) -> SignedIn:
    """Turn an authorization response into a user, made now when the identity is new.

    Of many calls with one state one gets through. Network first, database after: no provider
    is asked inside a transaction. Raise ``StateMismatchError`` (the sign-in is as it was for
    the right browser), ``ProviderError``, ``IdTokenError``, or what ``accounts`` refuses.
    """
    attempt = state.claim(provider.name, response.state, browser)
    endpoints = provider.endpoints()
    _require_issuer(endpoints, response)
    if response.error:
        raise ProviderError("an error response", code=known_code(response.error))
    if not response.code:
        raise ProviderError("neither code nor error", code="server_error")
    tokens, identity = _ask(provider, endpoints, attempt, response.code)
    return _sign_in(provider, attempt, tokens, identity)


def _require_issuer(endpoints: Endpoints, response: AuthorizationResponse) -> None:
    """Refuse another provider's response, passed on to our callback (RFC 9207 section 2.4)."""
    if endpoints.issuer is None or (
        response.iss is None and not endpoints.announces_iss
    ):
        return
    if response.iss != endpoints.issuer:
        raise ProviderError("iss is missing or another issuer's", code="invalid_issuer")


@sensitive_variables("code")
def _ask(
    provider: Provider, endpoints: Endpoints, attempt: Attempt, code: str
) -> tuple[Tokens, Identity]:
    # Imports requests, which a site without providers never needs.
    from crossauth_django.oauth.client import ProviderSession

    with ProviderSession(provider.client_id, attempt.redirect_uri) as session:
        tokens = session.exchange_code(
            endpoints.token,
            code=code,
            verifier=attempt.verifier,
            client_secret=provider.client_secret,
            basic_auth=endpoints.basic_auth,
        )
        identity = provider.identity(session, endpoints, tokens, nonce=attempt.nonce)
    return tokens, identity


def _sign_in(
    provider: Provider, attempt: Attempt, tokens: Tokens, identity: Identity
) -> SignedIn:
    # What is not kept goes no further: no error report of the layers below can show it.
    kept = tokens if conf.CROSSAUTH_STORE_PROVIDER_TOKENS else None
    result = accounts.sign_in_identity(
        provider=provider.name,
        provider_user_id=identity.provider_user_id,
        email=identity.email,
        email_verified=identity.email_verified,
        user_info=identity.user_info,
        access_token=kept.access_token if kept else None,
        refresh_token=kept.refresh_token if kept else None,
        access_token_expires_at=kept.access_token_expires_at if kept else None,
        refresh_token_expires_at=None,
        scope=tokens.scope or provider.scope,
    )
    return SignedIn(result.user, result.created, attempt.next_path)
