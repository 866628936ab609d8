from __future__ import annotations

import pytest
from django.contrib.auth import get_user

from tests.oauth.browser import sign_in


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["acme", "google", "github"])
def test_a_stranger_signs_in_at_a_provider(client, site, provider, name):
    response = sign_in(client, provider, name)
    assert (response.status_code, response["Location"]) == (302, "/welcome/")
    assert get_user(client).is_authenticated
