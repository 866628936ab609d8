"""Any OpenID Connect provider, found by its issuer (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from crossauth_django.exceptions import IdTokenError, ProviderError
from crossauth_django.oauth import documents, idtoken
from crossauth_django.oauth.providers.base import (
    Endpoints,
    Identity,
    Provider,
    Tokens,
    is_allowed_url,
    text_address,
)

if TYPE_CHECKING:
    from crossauth_django.oauth.client import ProviderSession


class OIDCProvider(Provider):
    """``{"type": "oidc", "issuer": "https://...", "client_id": ..., "client_secret": ...}``."""

    scope = "openid profile email"
    issuer = ""
    required = (*Provider.required, "issuer")
    urls = ("issuer",)

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(name, options)
        self.issuer = options.get("issuer", self.issuer)

    def endpoints(self) -> Endpoints:
        """Read the issuer's discovery document, from the store while it is fresh."""
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = documents.get_document(url, self._check)
        methods = document.get("token_endpoint_auth_methods_supported")
        return Endpoints(
            authorization=document["authorization_endpoint"],
            token=document["token_endpoint"],
            userinfo=document.get("userinfo_endpoint"),
            jwks=document["jwks_uri"],
            issuer=self.issuer,
            announces_iss=bool(
                document.get("authorization_response_iss_parameter_supported")
            ),
            # Basic is what Discovery section 3 assumes when nothing is announced. Servers
            # disagree on how it is encoded, so it is not used where the body is welcome.
            basic_auth=not isinstance(methods, list)
            or "client_secret_post" not in methods,
        )

    def authorization_params(self, *, nonce: str) -> dict[str, str]:
        """Add the nonce, which comes back inside the ID token (Core section 3.1.2.1)."""
        return super().authorization_params(nonce=nonce) | {"nonce": nonce}

    def identity(
        self,
        session: ProviderSession,
        endpoints: Endpoints,
        tokens: Tokens,
        *,
        nonce: str,
    ) -> Identity:
        """Believe the ID token; ask userinfo only for what it leaves out."""
        if tokens.id_token is None or endpoints.jwks is None:
            raise IdTokenError("the token response has no ID token")
        claims = idtoken.verify(
            tokens.id_token,
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=nonce,
            access_token=tokens.access_token,
            jwks_url=endpoints.jwks,
        )
        if "email" in claims or endpoints.userinfo is None:
            return _identity(claims, claims)
        info = session.get_json(endpoints.userinfo, dict)
        # Without this a substituted access token brings somebody else's address
        # (Core section 5.3.2).
        if not hmac.compare_digest(_text(info.get("sub")), _text(claims["sub"])):
            raise IdTokenError("userinfo is about another subject than the ID token")
        return _identity(info, claims | info)

    def _check(self, document: dict[str, Any]) -> None:
        if document.get("issuer") != self.issuer:
            raise ProviderError(
                f"{self.name}: discovery names another issuer", code="server_error"
            )
        urls = ["authorization_endpoint", "token_endpoint", "jwks_uri"]
        if "userinfo_endpoint" in document:
            urls.append("userinfo_endpoint")
        for name in urls:
            if not is_allowed_url(document.get(name)):
                raise ProviderError(
                    f"{self.name}: discovery has no usable {name}", code="server_error"
                )


def _identity(source: dict[str, Any], user_info: dict[str, Any]) -> Identity:
    # Address and flag come from one source: the flag of the other may mean another address.
    verified = source.get("email_verified")
    return Identity(
        provider_user_id=source["sub"],
        email=text_address(source.get("email")),
        # Some providers send booleans as text (Apple, Cognito).
        email_verified=None
        if verified is None
        else verified is True or verified == "true",
        user_info=user_info,
    )


def _text(value: object) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else b""
