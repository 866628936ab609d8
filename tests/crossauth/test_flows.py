"""Social sign-in, link, connect and disconnect as the real library does them."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import pytest
from cross_auth.exceptions import CrossAuthException
from django.contrib.auth import get_user_model

from crossauth_django import accounts
from crossauth_django.exceptions import AccountLinkedError, AccountNotLinkedError
from crossauth_django.models import SocialAccount
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import identity, make_user, only_where, user_create
from tests.crossauth.conftest import RELEASE, error_of, person

pytestmark = pytest.mark.django_db(transaction=True)

IS_NEW = not RELEASE.startswith("0.12.")


def users() -> Any:
    return get_user_model().objects


def test_new_identity_signs_up(site):
    user_id = site.sign_in()
    user = AccountsStorage().find_user_by_id(user_id)
    account = SocialAccount.objects.get()
    assert str(user.id) == user_id
    assert user.email == "person1@example.org"
    assert user.email_verified is True
    assert not user.has_usable_password
    assert (account.provider, account.provider_user_id) == ("acme", "1")
    assert account.provider_email == "Person1@example.org"
    assert account.provider_email_verified is True
    assert account.is_login_method is True
    assert account.scope == "email"
    assert account.access_token_expires_at is not None


def test_known_identity_signs_in(site):
    first = site.sign_in()
    site.provider.person = person(1, email="moved@example.org", name="Lady Ada")
    assert site.sign_in() == first
    assert users().count() == 1
    assert SocialAccount.objects.get().provider_email == "moved@example.org"


def test_provider_tokens_are_kept_where_they_shall_be(site, keep_tokens):
    site.sign_in()
    account = SocialAccount.objects.get()
    assert account.access_token in site.provider.tokens
    assert account.refresh_token == f"refresh-{account.access_token}"


def test_provider_tokens_are_not_kept_elsewhere(site):
    site.sign_in()
    account = SocialAccount.objects.get()
    assert account.access_token is account.refresh_token is None


def test_code_is_good_for_one_token(site):
    verifier = secrets.token_urlsafe(48)
    code = site.authorize(verifier)["code"]
    assert site.token(code, verifier).status_code == 200
    again = site.token(code, verifier)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_code_is_bound_to_its_verifier(site):
    code = site.authorize(secrets.token_urlsafe(48))["code"]
    answer = site.token(code, secrets.token_urlsafe(48))
    assert answer.json()["error"] == "invalid_grant"


def test_clients_state_comes_back(site):
    assert site.authorize(secrets.token_urlsafe(48))["state"] == "client state"


def test_unknown_state_is_refused(site):
    answer = site.browser.get("/acme/callback", params={"code": "x", "state": "y"})
    assert error_of(answer)
    assert users().count() == 0


@only_where(IS_NEW)
def test_state_is_good_for_one_callback(site):
    started = site.browser.get(
        "/acme/authorize",
        params={
            "response_type": "code",
            "client_id": "app",
            "redirect_uri": "https://client.example/callback",
            "code_challenge": "a" * 43,
            "code_challenge_method": "S256",
        },
    )
    url = started.headers["location"]
    assert "code=" in site.come_back(url).headers["location"]
    assert error_of(site.come_back(url))


def test_unproved_address_of_a_user_is_not_linked(site):
    make_user("person1@example.org")
    site.provider.person = person(1, email_verified=False)
    answer = site.authorize(secrets.token_urlsafe(48))
    assert answer["error"] == "account_not_linked"
    assert SocialAccount.objects.count() == 0


def test_proved_address_of_a_user_is_linked(site):
    user = make_user("PERSON1@example.org")
    assert site.sign_in() == str(user.pk)
    assert SocialAccount.objects.get().user_id == user.pk


@only_where(not get_user_model()._meta.get_field("email").unique)
def test_address_of_two_users_is_an_answer_not_a_crash(site):
    make_user("person1@example.org")
    make_user("PERSON1@example.org")
    answer = site.authorize(secrets.token_urlsafe(48))
    assert answer["error"] == "account_not_linked"


def test_signed_in_user_links_another_identity(site):
    site.user_id = site.sign_in()
    site.provider.person = person(2)
    answer = site.link(allow_login=True)
    assert answer.status_code == 200, answer.text
    assert SocialAccount.objects.filter(user_id=site.user_id).count() == 2
    # And signs in with it.
    assert site.sign_in() == site.user_id


def test_linking_again_changes_nothing(site):
    site.user_id = site.sign_in()
    assert site.link().status_code == 200
    assert SocialAccount.objects.count() == 1


def test_anothers_identity_cannot_be_linked(site):
    owner = site.sign_in()
    site.provider.person = person(2)
    site.user_id = site.sign_in()
    site.provider.person = person(1)
    answer = site.link(allow_login=True)
    assert answer.status_code == 400
    found = SocialAccount.objects.get(provider_user_id="1")
    assert str(found.user_id) == owner


def test_identity_can_be_connected_without_sign_in(site):
    site.user_id = site.sign_in()
    site.provider.person = person(2)
    started = site.browser.get("/acme/connect")
    finished = site.come_back(started.headers["location"])
    assert finished.status_code == 302, finished.text
    assert SocialAccount.objects.get(provider_user_id="2").is_login_method is False


@only_where(IS_NEW)
def test_connected_identity_signs_nobody_in(site):
    test_identity_can_be_connected_without_sign_in(site)
    answer = site.authorize(secrets.token_urlsafe(48))
    assert answer["error"] == "access_denied"


@only_where(IS_NEW)
def test_last_identity_cannot_be_disconnected(site):
    site.user_id = site.sign_in()
    answer = site.browser.delete("/acme/social-accounts")
    assert answer.json()["error"] == "no_alternative_login_method"
    assert SocialAccount.objects.count() == 1


@only_where(IS_NEW)
def test_one_of_two_identities_can_be_disconnected(site):
    site.user_id = site.sign_in()
    site.provider.person = person(2)
    site.link(allow_login=True)
    first, second = SocialAccount.objects.order_by("pk")
    answer = site.browser.delete(f"/acme/social-accounts/{first.pk}")
    assert answer.status_code == 200, answer.text
    assert SocialAccount.objects.get() == second
    answer = site.browser.delete(f"/acme/social-accounts/{second.pk}")
    assert answer.json()["error"] == "no_alternative_login_method"


@only_where(IS_NEW)
@pytest.mark.parametrize("account_id", ["0", "x", "999", "9" * 400, "%00"])
def test_unknown_identity_is_not_disconnected(site, account_id):
    site.user_id = site.sign_in()
    answer = site.browser.delete(f"/acme/social-accounts/{account_id}")
    assert answer.json()["error"] == "account_not_connected"


@only_where(IS_NEW)
def test_anothers_identity_is_not_disconnected(site):
    site.sign_in()
    account = SocialAccount.objects.get()
    site.provider.person = person(2)
    site.user_id = site.sign_in()
    answer = site.browser.delete(f"/acme/social-accounts/{account.pk}")
    assert answer.json()["error"] == "account_not_connected"
    assert SocialAccount.objects.count() == 2


def test_disabled_user_does_not_sign_in(site):
    user_id = site.sign_in()
    users().filter(pk=user_id).update(is_active=False)
    assert "error" in site.authorize(secrets.token_urlsafe(48))


def test_bcrypt_password_is_one_that_the_library_verifies(site, settings):
    from cross_auth._password import authenticate

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.BCryptPasswordHasher"]
    user = make_user("ada@example.org", password="secret")
    found = authenticate("ADA@example.org", "secret", AccountsStorage())
    assert found.id == user.pk
    assert authenticate("ada@example.org", "wrong", AccountsStorage()) is None


@pytest.mark.parametrize("password", ["secret", None])
def test_other_passwords_are_refused_not_a_crash(site, password):
    from cross_auth._password import authenticate

    make_user("ada@example.org", password=password)
    assert authenticate("ada@example.org", "secret", AccountsStorage()) is None


def test_refusals_are_the_librarys_exceptions_too():
    storage = AccountsStorage()
    owner, other = make_user("a@example.org"), make_user("b@example.org")
    storage.create_social_account(user_id=owner.pk, **identity())
    with pytest.raises(CrossAuthException) as caught:
        storage.create_social_account(user_id=other.pk, **identity())
    assert isinstance(caught.value, AccountLinkedError)
    assert caught.value.args[0] == caught.value.error == "account_already_linked"
    with pytest.raises(CrossAuthException) as caught:
        storage.create_user(**user_create("A@example.org"))
    assert isinstance(caught.value, AccountNotLinkedError)
    assert caught.value.error == "account_not_linked"
    assert caught.value.status_code == 400


def test_our_own_sign_in_works_beside_the_library():
    assert "cross_auth" in sys.modules
    signed_in = [
        accounts.sign_in_identity(
            provider="acme",
            provider_user_id="1",
            email="ada@example.org",
            email_verified=True,
            user_info={},
        )
        for _ in range(2)
    ]
    assert [result.created for result in signed_in] == [True, False]


@only_where(not IS_NEW)
def test_cookie_sign_in_keeps_its_session_in_the_secondary_storage(provider):
    from tests.crossauth.conftest import make_site

    site = make_site(provider, get_user_from_request=None)
    started = site.browser.get("/acme/login")
    finished = site.come_back(started.headers["location"])
    assert finished.status_code == 302, finished.text

    class Request:
        cookies = dict(site.browser.cookies)
        headers: dict[str, str] = {}

    resolve = site.crossauth._get_user_from_request
    assert resolve(Request()).email == "person1@example.org"
