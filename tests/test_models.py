from __future__ import annotations

import pickle
from datetime import datetime, timezone

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.forms import modelform_factory

from crossauth_django.exceptions import EncryptionError
from crossauth_django.models import (
    AddressLock,
    SocialAccount,
    VerifiedEmail,
)
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import identity, keep_tokens, make_user

__all__ = ["keep_tokens"]

pytestmark = pytest.mark.django_db

SECRET = "s3cret"


@pytest.fixture
def account(keep_tokens):
    return SocialAccount.objects.create(
        user_id=make_user().pk, **identity(access_token=SECRET, refresh_token=SECRET)
    )


def stored(column="access_token"):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM crossauth_django_socialaccount")
        return cursor.fetchone()[0]


def test_token_is_encrypted_at_rest_and_read_in_clear(account):
    assert SECRET not in stored()
    assert stored() != stored("refresh_token")
    assert SocialAccount.objects.get().access_token == SECRET


@pytest.mark.parametrize("token", ["", "x" * 200_000, "\0", "\ud800", "🔑"])
def test_token_is_any_text(account, token):
    account.access_token = token
    account.save()
    assert SocialAccount.objects.get().access_token == token


def test_token_that_is_not_touched_is_stored_again_as_it_was(account):
    before = stored()
    found = SocialAccount.objects.get()
    found.scope = "new"
    found.save()
    assert stored() == before


def test_lost_key_breaks_only_the_reading_of_the_token(account, settings):
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    found = SocialAccount.objects.get()
    found.scope = "new"
    found.save()
    with pytest.raises(EncryptionError):
        found.access_token  # noqa: B018


def test_rotated_key_still_opens(account, settings):
    new = Fernet.generate_key().decode()
    settings.CROSSAUTH_ENCRYPTION_KEYS = [new, *settings.CROSSAUTH_ENCRYPTION_KEYS]
    assert SocialAccount.objects.get().access_token == SECRET


def test_deferred_token_is_loaded_when_it_is_read(account):
    assert SocialAccount.objects.defer("access_token").get().access_token == SECRET


def test_no_key_stores_no_token(settings):
    settings.CROSSAUTH_STORE_PROVIDER_TOKENS = True
    settings.CROSSAUTH_ENCRYPTION_KEYS = []
    with pytest.raises(ImproperlyConfigured):
        AccountsStorage().create_social_account(
            user_id=make_user().pk, **identity(access_token=SECRET)
        )
    assert SocialAccount.objects.count() == 0


def test_no_token_is_kept_unless_it_is_asked_for():
    AccountsStorage().create_social_account(
        user_id=make_user().pk, **identity(access_token=SECRET, refresh_token=SECRET)
    )
    assert stored() is None
    assert stored("refresh_token") is None


def test_token_is_in_no_dump_form_or_representation(account):
    found = SocialAccount.objects.get()
    assert SECRET not in serializers.serialize("json", [account, found])
    assert '"access_token"' not in serializers.serialize("json", [found])
    form = modelform_factory(SocialAccount, fields="__all__")
    assert "access_token" not in form.base_fields
    sealed = found.__dict__["access_token"]
    for shown in (repr(found), str(found), repr(sealed), str(sealed)):
        assert SECRET not in shown
        assert stored() not in shown


def test_sealed_token_survives_pickling_without_being_opened(account):
    data = pickle.dumps(SocialAccount.objects.get())
    assert SECRET.encode() not in data
    assert pickle.loads(data).access_token == SECRET


def test_times_are_aware_and_exact(account):
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
    SocialAccount.objects.update(access_token_expires_at=moment)
    found = SocialAccount.objects.get()
    assert found.access_token_expires_at == moment
    assert found.created_at.tzinfo is not None
    assert SocialAccount.objects.filter(access_token_expires_at__lte=moment).exists()


def test_rows_name_themselves():
    user = make_user()
    assert str(SocialAccount(provider="acme", provider_user_id="1")) == "acme: 1"
    assert str(VerifiedEmail(user=user, email="a@example.org")) == "a@example.org"
    assert str(AddressLock(number=7)) == "7"


def test_connections_and_verified_addresses_go_with_the_user(account):
    VerifiedEmail.objects.create(user_id=account.user_id, email="a@example.org")
    account.user.delete()
    assert SocialAccount.objects.count() == VerifiedEmail.objects.count() == 0


def test_names_leave_room_for_the_librarys_own_django_app():
    # Its pilot may be installed beside.
    assert SocialAccount._meta.app_label == "crossauth_django"
    names = {
        model._meta.get_field("user").remote_field.get_accessor_name()
        for model in (SocialAccount, VerifiedEmail)
    }
    assert names == {"social_accounts", "crossauth_verified_email"}
