"""Google, an OpenID Connect provider whose issuer is known."""

from __future__ import annotations

from crossauth_django.oauth.providers.base import Provider
from crossauth_django.oauth.providers.oidc import OIDCProvider


class GoogleProvider(OIDCProvider):
    """``{"client_id": ..., "client_secret": ...}`` under the name ``google``."""

    label = "Google"
    issuer = "https://accounts.google.com"
    required = Provider.required
    optional = (*Provider.optional, "issuer")
