"""What every kind of provider answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from crossauth_django.oauth.client import ProviderSession

# RFC 5321: 64 before the @, 255 after it.
MAX_EMAIL_LENGTH = 320
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Endpoints:
    """Where a provider listens, and how it wants to be spoken to."""

    authorization: str
    token: str
    userinfo: str | None = None
    jwks: str | None = None
    issuer: str | None = None
    """Compared exactly with ``iss``, in the ID token and in the authorization response."""
    announces_iss: bool = False
    """The authorization response must carry ``iss`` (RFC 9207 section 3)."""
    basic_auth: bool = False
    """Send the client's secret in the header instead of the body (RFC 6749 section 2.3.1)."""


@dataclass(frozen=True)
class Tokens:
    """The answer of a token endpoint (RFC 6749 section 5.1); its repr shows no token."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    access_token_expires_at: datetime | None
    scope: str | None
    id_token: str | None = field(repr=False)


@dataclass(frozen=True)
class Identity:
    """Who signed in. ``provider_user_id`` is the identity; the address is only information."""

    provider_user_id: str
    email: str | None
    email_verified: bool | None
    """None when the provider did not say."""
    user_info: dict[str, Any]


class Provider(ABC):
    """One entry of ``CROSSAUTH_PROVIDERS``.

    Subclass it for a provider of your own and give the dotted path as ``"BACKEND"``.
    """

    label = ""
    """What the button says; the setting ``"name"`` wins."""
    scope = ""
    """What is asked for; the setting ``"scope"`` wins."""
    required: tuple[str, ...] = ("client_id", "client_secret")
    optional: tuple[str, ...] = ("type", "BACKEND", "name", "scope", "response_mode")
    urls: tuple[str, ...] = ()
    """Settings that are URLs, https or on this machine."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.options = options
        self.client_id: str = options["client_id"]
        self.client_secret: str = options["client_secret"]
        self.label = options.get("name") or self.label or name.replace("-", " ").title()
        self.scope = options.get("scope", self.scope)

    @abstractmethod
    def endpoints(self) -> Endpoints:
        """Return where the provider listens; may need the network. Raise ``ProviderError``."""

    def authorization_params(self, *, nonce: str) -> dict[str, str]:
        """Return what the authorization request carries besides RFC 6749's and PKCE's."""
        response_mode = self.options.get("response_mode")
        return {"response_mode": response_mode} if response_mode else {}

    @abstractmethod
    def identity(
        self,
        session: ProviderSession,
        endpoints: Endpoints,
        tokens: Tokens,
        *,
        nonce: str,
    ) -> Identity:
        """Return who signed in. Raise ``ProviderError`` or ``IdTokenError``."""


def text_address(value: object) -> str | None:
    """Return an address as the provider wrote it, None for what cannot be one."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_EMAIL_LENGTH:
        return None
    return value if value.isprintable() else None


def is_allowed_url(url: object) -> bool:
    """Say whether a provider may live at ``url``: https, or http on this machine."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.fragment or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
