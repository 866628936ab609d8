"""Secrets, digests, PKCE and the encryption of provider tokens."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables

from crossauth_django.conf import conf
from crossauth_django.exceptions import EncryptionError

if TYPE_CHECKING:
    # Costs tens of milliseconds; a site that stores no provider tokens never pays.
    from cryptography.fernet import MultiFernet


def new_secret() -> str:
    """Return 256 random bits as 43 URL-safe characters (ASVS 7.2.3 asks for 128)."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the SHA-256 of a high-entropy secret, as 64 hex characters.

    Only for values with at least 112 random bits (ASVS 11.4): a dump of digests of
    guessable text can be reversed, use ``keyed_digest`` for that.
    """
    return hashlib.sha256(_bytes(secret)).hexdigest()


def keyed_digest(label: str, value: str, *, key: str | bytes | None = None) -> str:
    """Return an HMAC-SHA-256 of guessable text, as 64 hex characters.

    ``label`` separates the purposes, so that equal values of two purposes never share
    a digest. The key is ``SECRET_KEY`` unless one is given.
    """
    keyed = _keyed(label, settings.SECRET_KEY if key is None else key).copy()
    keyed.update(_bytes(value))
    return keyed.hexdigest()


def code_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    hashed = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode("ascii")


def encrypt(plain: str) -> str:
    """Encrypt with the first of ``CROSSAUTH_ENCRYPTION_KEYS`` (Fernet: AES-128-CBC and HMAC)."""
    return _fernet().encrypt(_bytes(plain)).decode("ascii")


def decrypt(stored: str) -> str:
    """Open a value with whichever key made it; raise ``EncryptionError`` when none did."""
    from cryptography.fernet import InvalidToken

    try:
        return _fernet().decrypt(_bytes(stored)).decode("utf-8", "surrogatepass")
    except InvalidToken as error:
        raise EncryptionError("no configured key opens this value") from error


def rotate(stored: str) -> str:
    """Encrypt a stored value again with the first key; raise ``EncryptionError`` like ``decrypt``."""
    return encrypt(decrypt(stored))


def seal(label: str, secret: str, plain: str) -> str:
    """Encrypt with a key made from ``SECRET_KEY`` and a high-entropy ``secret``.

    For state whose owner holds the secret: a dump of the cache shows nothing, not even to who
    knows ``SECRET_KEY``, and who can write to the cache makes nothing that ``unseal`` accepts.
    """
    return _sealer(label, secret).encrypt(_bytes(plain)).decode("ascii")


def unseal(label: str, secret: str, sealed: str) -> str:
    """Open what ``seal`` made; raise ``EncryptionError`` for anything else.

    ``SECRET_KEY_FALLBACKS`` open what an earlier ``SECRET_KEY`` sealed.
    """
    from cryptography.fernet import InvalidToken

    try:
        plain = _sealer(label, secret).decrypt(_bytes(sealed))
    except InvalidToken as error:
        raise EncryptionError("sealed with another secret") from error
    return plain.decode("utf-8", "surrogatepass")


# To be copied: setting one up anew is a third of the work of a digest.
@functools.lru_cache(maxsize=64)
def _keyed(label: str, secret: str | bytes) -> hmac.HMAC:
    name = f"crossauth_django.{label}"
    key = hashlib.sha256(_bytes(name) + b"\0" + _bytes(secret)).digest()
    return hmac.new(key, digestmod="sha256")


def _sealer(label: str, secret: str) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    digests = [
        keyed_digest(label, secret, key=key)
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(bytes.fromhex(key))) for key in digests]
    )


@sensitive_variables()
def _fernet() -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    keys = conf.CROSSAUTH_ENCRYPTION_KEYS
    if not keys:
        raise ImproperlyConfigured(
            "CROSSAUTH_ENCRYPTION_KEYS is empty. Put a key there: "
            'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(
            "CROSSAUTH_ENCRYPTION_KEYS: each key is 32 bytes, base64url-encoded."
        ) from error


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text  # SECRET_KEY may be either
    # Lone surrogates reach us in keys and names; they must hash, not raise.
    return text.encode("utf-8", "surrogatepass")
