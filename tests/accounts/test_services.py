"""``crossauth_django.accounts``: what a verified provider identity means."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.functional import SimpleLazyObject

from crossauth_django import accounts, signals
from crossauth_django.exceptions import (
    AccountInactiveError,
    AccountLinkedError,
    AccountMissingError,
    AccountNotLinkedError,
    EmailMissingError,
)
from crossauth_django.models import SocialAccount
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import identity, make_user, sent, set_email

pytestmark = pytest.mark.django_db


def sign_in(**changes: Any) -> accounts.SignedIn:
    return accounts.sign_in_identity(
        **{
            "provider": "google",
            "provider_user_id": "1",
            "email": "ada@example.org",
            "email_verified": True,
            "user_info": {"name": "Ada"},
            **changes,
        }
    )


def link(user: Any, **changes: Any) -> Any:
    values: Any = {**identity(**changes), "user_id": None, "extra_fields": None}
    return accounts.link(user, values)


def is_verified(user: Any) -> bool:
    view = AccountsStorage().find_user_by_email("ada@example.org")
    assert view is not None
    return view.email_verified


def test_new_identity_makes_a_user():
    with sent(signals.user_signed_up) as calls:
        user, account, created = sign_in()
    assert created
    assert account.user_id == user.pk
    assert account.user_info == {"name": "Ada"}
    assert is_verified(user)
    assert not user.has_usable_password()
    assert [(call["user"], call["account"]) for call in calls] == [(user, account)]


def test_known_identity_is_its_owner_whatever_the_address_says():
    first = sign_in()
    again = sign_in(email="other@example.org", user_info={"name": "Lady Ada"})
    assert (again.user, again.created) == (first.user, False)
    found = SocialAccount.objects.get()
    assert found.provider_email == "other@example.org"
    assert found.user_info == {"name": "Lady Ada"}


def test_tokens_are_brought_up_to_date(keep_tokens):
    sign_in(access_token="a1", refresh_token="r1")
    account = sign_in(access_token="a2", refresh_token=None).account
    # Providers send the refresh token with the first consent only.
    assert (account.access_token, account.refresh_token) == ("a2", "r1")
    account = sign_in(access_token="a3", refresh_token="r3").account
    assert (account.access_token, account.refresh_token) == ("a3", "r3")


def test_connected_identity_signs_nobody_in():
    link(make_user(), provider="google", is_login_method=False)
    with pytest.raises(AccountLinkedError):
        sign_in()
    assert get_user_model().objects.count() == 1


@pytest.mark.parametrize(
    ("provider", "verified"),
    [("acme", True), ("google", False), ("google", None), ("github", True)],
)
def test_address_alone_joins_no_account(provider, verified):
    user = make_user(password="secret")
    with pytest.raises(AccountNotLinkedError):
        sign_in(provider=provider, email_verified=verified)
    assert SocialAccount.objects.count() == 0
    assert get_user_model().objects.get(pk=user.pk).check_password("secret")


def test_trusted_verified_address_joins_a_verified_account():
    user = make_user("Ada@example.org", password="secret")
    accounts.mark_email_verified(user)
    with sent(signals.account_linked) as calls:
        signed_in = sign_in()
    assert (signed_in.user, signed_in.created) == (user, False)
    assert get_user_model().objects.get(pk=user.pk).check_password("secret")
    assert [call["account"] for call in calls] == [signed_in.account]


def test_claimed_account_loses_what_a_stranger_may_have_put_there():
    user = make_user(password="stranger's")
    link(user, provider="acme", provider_user_id="stranger's")
    old_hash = user.get_session_auth_hash()
    with sent(signals.account_claimed) as calls:
        signed_in = sign_in()
    user = get_user_model().objects.get(pk=user.pk)
    assert signed_in.user == user
    assert not user.has_usable_password()
    # Sessions of django.contrib.auth end with the password.
    assert user.get_session_auth_hash() != old_hash
    assert SocialAccount.objects.get().provider == "google"
    assert is_verified(user)
    assert [call["user"] for call in calls] == [user]


def test_untrusted_provider_verifies_nothing():
    # A provider that lies about an address would else keep the account that its owner joins.
    user = sign_in(provider="acme").user
    assert not is_verified(user)
    sign_in()
    assert SocialAccount.objects.get().provider == "google"


def test_setting_says_who_is_trusted(settings):
    settings.CROSSAUTH_TRUST_EMAIL_FROM = ["acme"]
    user = make_user()
    assert sign_in(provider="acme").user == user
    with pytest.raises(AccountNotLinkedError):
        sign_in(provider="google")


def test_later_proof_verifies_the_address():
    user = sign_in(email_verified=False).user
    assert not is_verified(user)
    with sent(signals.email_verified) as calls:
        sign_in(email_verified=True)
        sign_in(email_verified=True)
    assert is_verified(user)
    assert [call["email"] for call in calls] == ["ada@example.org"]


def test_proof_of_another_address_verifies_nothing():
    user = sign_in(email_verified=False).user
    sign_in(email="other@example.org", email_verified=True)
    assert not is_verified(user)


def test_disabled_user_is_refused_and_nothing_is_stored():
    user = sign_in(user_info={"name": "Ada"}).user
    user.is_active = False
    user.save()
    with pytest.raises(AccountInactiveError):
        sign_in(user_info={"name": "Eve"})
    assert SocialAccount.objects.get().user_info == {"name": "Ada"}


def test_disabled_user_is_not_joined():
    user = make_user(is_active=False, password="secret")
    with pytest.raises(AccountInactiveError):
        sign_in()
    assert SocialAccount.objects.count() == 0
    assert get_user_model().objects.get(pk=user.pk).check_password("secret")


@pytest.mark.parametrize("email", [None, "", "no address", "a\0@example.org"])
def test_provider_without_an_address(email):
    model: Any = get_user_model()
    if model._meta.get_field(model.get_email_field_name()).blank:
        signed_in = sign_in(email=email)
        assert signed_in.created
        assert sign_in(email=email).user == signed_in.user
    else:
        with pytest.raises(EmailMissingError):
            sign_in(email=email)


def test_changing_the_address_does_not_change_the_owner():
    first = sign_in()
    set_email(first.user, "new@example.org")
    assert sign_in().user == first.user
    assert sign_in(provider_user_id="2").user != first.user


def test_linking_connects():
    user = make_user()
    with sent(signals.account_linked) as calls:
        account = link(user)
    assert accounts.list_accounts(user) == [account]
    assert [call["user"] for call in calls] == [user]


def test_linking_again_is_no_error_and_may_promote():
    user = make_user()
    first = link(user, is_login_method=False, scope="a")
    second = link(user, is_login_method=True, scope="b")
    assert second.pk == first.pk
    assert (second.is_login_method, second.scope) == (True, "b")
    assert link(user, is_login_method=False).is_login_method is True


def test_linking_anothers_identity_is_refused():
    owner = make_user()
    link(owner)
    with pytest.raises(AccountLinkedError):
        link(make_user("bob@example.org"))
    assert SocialAccount.objects.get().user_id == owner.pk


def test_gone_and_disabled_users_link_nothing():
    user = make_user(is_active=False)
    with pytest.raises(AccountInactiveError):
        link(user)
    get_user_model().objects.all().delete()
    with pytest.raises(AccountMissingError):
        link(user)


def test_unlinking_follows_the_last_way_in_rule():
    user = make_user()
    first, second = link(user), link(user, provider_user_id="2")
    with sent(signals.account_unlinked) as calls:
        assert accounts.unlink(user, first.pk) == "disconnected"
        assert accounts.unlink(user, second.pk) == "last_login_method"
        assert accounts.unlink(user, first.pk) == "not_found"
        assert accounts.unlink(make_user("b@example.org"), second.pk) == "not_found"
    said = [(call["provider"], call["provider_user_id"]) for call in calls]
    assert said == [("acme", "1")]


def test_unlinking_says_so_of_the_user_of_a_request():
    user = make_user()
    link(user)
    account = link(user, provider_user_id="2")
    with sent(signals.account_unlinked) as calls:
        accounts.unlink(SimpleLazyObject(lambda: user), account.pk)
    said = [(call["sender"], call["user"]) for call in calls]
    assert said == [(get_user_model(), user)]


@pytest.mark.django_db(transaction=True)
def test_signal_waits_for_the_commit_and_receivers_cannot_refuse():
    def fail(**arguments: Any) -> None:
        raise KeyError("receiver")

    signals.user_signed_up.connect(fail)
    try:
        with sent(signals.user_signed_up) as calls:
            with transaction.atomic():
                sign_in()
                assert calls == []
                transaction.set_rollback(True)
            assert calls == []
            sign_in()
        assert len(calls) == 1
    finally:
        signals.user_signed_up.disconnect(fail)


def test_marking_says_so_once():
    user = make_user()
    with sent(signals.email_verified) as calls:
        accounts.mark_email_verified(user)
        accounts.mark_email_verified(user)
    assert [call["email"] for call in calls] == ["ada@example.org"]
