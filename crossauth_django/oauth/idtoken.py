"""Believes an ID token only after every check of OpenID Connect Core section 3.1.3.7.

Importing this module imports jwt and cryptography.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import jwt
from django.views.decorators.debug import sensitive_variables

from crossauth_django.exceptions import IdTokenError, ProviderError
from crossauth_django.oauth import documents

# Asymmetric only: with "none" or HS256 anybody who knows the public key could sign.
KEY_TYPES = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
LEEWAY_SECONDS = 60


@sensitive_variables("token", "nonce", "access_token")
def verify(
    token: str,
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    jwks_url: str,
) -> dict[str, Any]:
    """Return the claims of a token that ``issuer`` made for this client and this sign-in.

    Clocks may differ by 60 seconds. Raise ``IdTokenError`` when a check fails, and
    ``ProviderError`` when the issuer's keys cannot be had.
    """
    claims, algorithm = _verify_signature(token, issuer, client_id, jwks_url)
    _require_party(claims, client_id)
    if not _same(claims.get("nonce"), nonce):
        raise IdTokenError("nonce differs")
    if "at_hash" in claims and not _same(
        claims["at_hash"], _half_hash(access_token, algorithm)
    ):
        raise IdTokenError("at_hash does not belong to the access token")
    return claims


@sensitive_variables("token")
def _verify_signature(
    token: str, issuer: str, client_id: str, jwks_url: str
) -> tuple[dict[str, Any], str]:
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in KEY_TYPES:
            raise IdTokenError("algorithm is not allowed")
        for key in _keys(jwks_url, header, algorithm):
            claims = _decode(token, key, algorithm, issuer, client_id)
            if claims is not None:
                return claims, algorithm
    except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError) as error:
        # Named by its class: messages of the library may quote the token.
        raise IdTokenError(type(error).__name__) from error
    raise IdTokenError("no key of the issuer made this signature")


def _keys(jwks_url: str, header: dict[str, Any], algorithm: str) -> Iterator[jwt.PyJWK]:
    known = documents.get_document(jwks_url, _check_key_set)
    yield from _usable(known, header, algorithm)
    # The issuer may have a new key since.
    fresh = documents.refetch_document(jwks_url, _check_key_set, known=known)
    if fresh is not None:
        yield from _usable(fresh, header, algorithm)


def _usable(
    key_set: dict[str, Any], header: dict[str, Any], algorithm: str
) -> Iterator[jwt.PyJWK]:
    for key in key_set["keys"]:
        if (
            isinstance(key, dict)
            and key.get("kty") == KEY_TYPES[algorithm]
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and ("kid" not in header or key.get("kid") == header["kid"])
        ):
            with contextlib.suppress(jwt.PyJWTError):
                # A key that this machine cannot use does not spoil the others.
                yield jwt.PyJWK(key, algorithm)


def _decode(
    token: str, key: jwt.PyJWK, algorithm: str, issuer: str, client_id: str
) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_SECONDS,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.InvalidSignatureError:
        return None  # another key may have made it
    return claims


def _require_party(claims: dict[str, Any], client_id: str) -> None:
    audience = claims["aud"]
    # Issued for several parties, it must say that this one asked for it.
    several = isinstance(audience, list) and len(audience) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise IdTokenError("issued for another party")
    subject = claims["sub"]
    if not 0 < len(subject) <= 255 or not subject.isprintable():
        raise IdTokenError("not a usable subject")
    text = json.dumps(claims, ensure_ascii=False)
    if "\\u0000" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
        raise IdTokenError("text that cannot be stored")


def _half_hash(access_token: str, algorithm: str) -> str:
    # Core section 3.1.3.6; Ed25519 uses SHA-512 inside.
    name = f"sha{algorithm[-3:]}" if algorithm != "EdDSA" else "sha512"
    hashed = hashlib.new(name, access_token.encode("utf-8")).digest()
    half = hashed[: len(hashed) // 2]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode("ascii")


def _same(value: object, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(
        value.encode("utf-8", "surrogatepass"), expected.encode("utf-8")
    )


def _check_key_set(document: dict[str, Any]) -> None:
    if not isinstance(document.get("keys"), list):
        raise ProviderError("not a key set", code="server_error")
