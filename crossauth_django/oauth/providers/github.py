"""GitHub and GitHub Enterprise: OAuth 2.0 without OpenID, so the API says who it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossauth_django.exceptions import ProviderError
from crossauth_django.oauth.providers.base import (
    Endpoints,
    Identity,
    Provider,
    Tokens,
    text_address,
)

if TYPE_CHECKING:
    from crossauth_django.oauth.client import ProviderSession


class GitHubProvider(Provider):
    """``{"client_id": ..., "client_secret": ...}`` under the name ``github``.

    ``"base_url"`` and ``"api_url"`` name a GitHub Enterprise; its API is at
    ``<base_url>/api/v3`` unless told otherwise.
    """

    label = "GitHub"
    scope = "read:user user:email"
    optional = (*Provider.optional, "base_url", "api_url")
    urls = ("base_url", "api_url")

    def endpoints(self) -> Endpoints:
        """Return GitHub's fixed addresses; no network."""
        base = self.options.get("base_url", "https://github.com").rstrip("/")
        return Endpoints(
            authorization=f"{base}/login/oauth/authorize",
            token=f"{base}/login/oauth/access_token",
        )

    def identity(
        self,
        session: ProviderSession,
        endpoints: Endpoints,
        tokens: Tokens,
        *,
        nonce: str,
    ) -> Identity:
        """Take the numeric id, which stays when the login name changes hands."""
        api = self._api_url()
        user = session.get_json(f"{api}/user", dict)
        number = user.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise ProviderError(
                f"{self.name}: a user without an id", code="server_error"
            )
        email, verified = _primary(session.get_json(f"{api}/user/emails", list))
        return Identity(str(number), email, verified, user)

    def _api_url(self) -> str:
        if "api_url" in self.options:
            return str(self.options["api_url"]).rstrip("/")
        if "base_url" in self.options:
            return f"{str(self.options['base_url']).rstrip('/')}/api/v3"
        return "https://api.github.com"


def _primary(emails: list[Any]) -> tuple[str | None, bool | None]:
    # /user's own "email" is what the profile shows: any address, verified or not.
    for entry in emails:
        if isinstance(entry, dict) and entry.get("primary") is True:
            email = text_address(entry.get("email"))
            if email is not None:
                return email, entry.get("verified") is True
    return None, None
