from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: Any) -> Iterator[Provider]:
    with running_provider(tmp_path) as provider:
        # requests lets this variable win over Session.verify, so the code under test needs
        # no seam for a test certificate.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        yield provider


@pytest.fixture
def site(settings: Any, provider: Provider) -> Any:
    """The settings of a site that knows the provider under four names."""
    secrets = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "crossauth_django.backends.ProviderBackend",
    ]
    settings.LOGIN_REDIRECT_URL = "/welcome/"
    settings.CROSSAUTH_PROVIDERS = {
        "acme": {"type": "oidc", "issuer": provider.issuer, **secrets},
        "other": {"type": "oidc", "issuer": provider.issuer, **secrets},
        "google": {"issuer": provider.issuer, **secrets},
        "github": {"base_url": provider.issuer, **secrets},
    }
    return settings
