"""Provider tokens are in no error report, whoever made the error."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from crossauth_django import accounts
from tests.accounts.conftest import credentials, identity, identity_of, user_create
from tests.accounts.test_event_loop import on_loop
from tests.reports import report_of

pytestmark = pytest.mark.django_db(transaction=True)

TOKENS = {"access_token": "an access token", "refresh_token": "a refresh token"}
WRONG: dict[str, Any] = {**TOKENS, "provider_email": f"{'a' * 321}@example.org"}


def shown(call: Any) -> list[str]:
    with pytest.raises(ValueError, match="320 characters") as caught:
        call()
    report = report_of(caught)
    assert "managers/identities.py" in report
    return [token for token in TOKENS.values() if token in report]


@pytest.mark.parametrize("run", [lambda call: call(), on_loop])
def test_no_write_shows_a_token(storage, run):
    user = storage.create_user(**user_create())
    account = storage.create_social_account(user_id=user.id, **identity())
    new = identity(**{**WRONG, "provider_user_id": "2"})
    for call in (
        lambda: storage.create_social_account(user_id=user.id, **new),
        lambda: storage.update_social_account(account.id, **credentials(**WRONG)),
        lambda: storage.create_user_with_identity(
            user=user_create("bob@example.org"), identity=identity_of(**WRONG)
        ),
    ):
        assert shown(lambda c=call: run(c)) == []


def test_neither_signing_in_nor_linking_shows_a_token(storage):
    user = storage.create_user(**user_create())
    native = getattr(user, "native", user)
    accounts.link(native, {**identity(), "user_id": None, "extra_fields": None})
    changed = identity(**WRONG)
    changed["email"] = changed.pop("provider_email")
    changed["email_verified"] = changed.pop("provider_email_verified")
    del changed["is_login_method"]
    wrong = {**identity(**WRONG), "user_id": None, "extra_fields": None}
    for call in (
        lambda: accounts.sign_in_identity(**changed),
        lambda: accounts.link(native, wrong),
    ):
        assert shown(call) == []


def test_a_user_that_cannot_be_made_shows_no_password():
    manager = get_user_model().objects
    if not hasattr(manager, "create_user_with_identity"):
        pytest.skip("Django's own manager")
    with pytest.raises(TypeError) as caught:
        manager.create_user(
            email="ada@example.org", password="tall-ship", no_such_field=1
        )
    assert "tall-ship" not in report_of(caught)
