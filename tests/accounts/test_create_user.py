from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction

from crossauth_django.exceptions import (
    AccountLinkedError,
    AccountNotLinkedError,
    EmailMissingError,
)
from crossauth_django.models import SocialAccount
from tests.accounts.conftest import (
    has_username,
    identity,
    identity_of,
    make_user,
    only_where,
    user_create,
)

pytestmark = pytest.mark.django_db


def count_users() -> int:
    return get_user_model().objects.count()


def make_in_project(*, email: str, user_info: Any, extra_fields: Any) -> Any:
    """What ``CROSSAUTH_CREATE_USER`` points to."""
    user = make_user(email)
    user.made_with = (user_info, extra_fields)
    return user


def make_with_another_address(*, email: str, user_info: Any, extra_fields: Any) -> Any:
    return make_user(user_info["email"])


def fail_in_project(*, email: str, user_info: Any, extra_fields: Any) -> Any:
    make_user(email)
    raise IntegrityError("unrelated")


def test_user_has_the_address_and_no_password(storage):
    user = storage.create_user(**user_create(" Ada@Example.org"))
    found = storage.find_user_by_id(user.id)
    assert found.email == "ada@example.org"
    assert not found.has_usable_password


@pytest.mark.parametrize("email", ["ada@example.org", "ADA@example.org"])
def test_second_user_with_an_address_is_refused(storage, email):
    make_user("Ada@example.org")
    with pytest.raises(AccountNotLinkedError):
        storage.create_user(**user_create(email))
    assert count_users() == 1


@only_where(hasattr(get_user_model(), "first_name"))
def test_extra_fields_are_stored(storage):
    user = storage.create_user(**user_create(extra_fields={"first_name": "Ada"}))
    assert get_user_model().objects.get(pk=user.id).first_name == "Ada"


@pytest.mark.parametrize("name", ["unknown", "password", "pk", "id", "is_anonymous"])
def test_fields_that_may_not_be_set_are_refused(storage, name):
    with pytest.raises(TypeError):
        storage.create_user(**user_create(extra_fields={name: "x"}))
    assert count_users() == 0


@only_where(has_username())
def test_usernames_are_made_unique(storage):
    model: Any = get_user_model()
    users = [
        storage.create_user(**user_create(f"ada.l+x@{host}.example"))
        for host in ("a", "b", "c")
    ]
    names = [model.objects.get(pk=user.id).username for user in users]
    assert names[0] == "ada.l+x"
    assert all(name.startswith("ada.l+x") for name in names)
    assert len(set(names)) == 3


@only_where(has_username())
def test_username_fits_and_is_not_an_address(storage):
    model: Any = get_user_model()
    user = storage.create_user(**user_create(f"{'é' * 200}@example.org"))
    username = model.objects.get(pk=user.id).username
    assert len(username) <= 150
    assert "@" not in username


@only_where(has_username() and connection.vendor != "mysql")
def test_username_that_only_a_constraint_finds_taken_is_made_unique(storage):
    # What UniqueConstraint(Lower("username")) makes; MariaDB has no such index.
    model: Any = get_user_model()
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(model._meta.db_table)
        cursor.execute(f"CREATE UNIQUE INDEX names ON {table} (lower(username))")
    make_user("other@example.org", username="Ada")
    user = storage.create_user(**user_create("ada@example.org"))
    assert model.objects.get(pk=user.id).username.startswith("ada-")


@only_where(has_username())
def test_usernames_without_a_longest_length_are_made_unique(storage, monkeypatch):
    model: Any = get_user_model()
    # As of a TextField.
    monkeypatch.setattr(model._meta.get_field("username"), "max_length", None)
    users = [storage.create_user(**user_create(f"ada@{host}.example")) for host in "ab"]
    names = [model.objects.get(pk=user.id).username for user in users]
    assert names[0] == "ada"
    assert names[1].startswith("ada-")


@only_where(has_username())
def test_given_username_is_kept(storage):
    model: Any = get_user_model()
    user = storage.create_user(**user_create(extra_fields={"username": "ada"}))
    assert model.objects.get(pk=user.id).username == "ada"
    with pytest.raises(IntegrityError):
        storage.create_user(
            **user_create("bob@example.org", extra_fields={"username": "ada"})
        )


@pytest.mark.parametrize(
    "email", ["", " ", "a\0b@example.org", "\ud800@example.org", "a" * 321]
)
def test_missing_address_is_an_error_where_the_model_needs_one(storage, email):
    model = get_user_model()
    if model._meta.get_field(model.get_email_field_name()).blank and not email.strip():
        user = storage.create_user(**user_create(email))
        assert user.email in {None, ""}
    else:
        with pytest.raises(EmailMissingError):
            storage.create_user(**user_create(email))


def test_projects_own_factory_makes_the_user(storage, settings):
    settings.CROSSAUTH_CREATE_USER = f"{__name__}.make_in_project"
    user = storage.create_user(
        user_info={"sub": "1"},
        email="Ada@example.org",
        email_verified=True,
        extra_fields={"plan": "free"},
    )
    native = getattr(user, "native", user)
    assert native.made_with == ({"sub": "1"}, {"plan": "free"})
    assert user.email_verified is True


@pytest.mark.parametrize(
    ("written", "verified"), [("Ada@Example.org", True), ("eve@example.org", False)]
)
def test_address_that_the_factory_chose_is_verified_only_when_it_is_the_proved_one(
    storage, settings, written, verified
):
    settings.CROSSAUTH_CREATE_USER = f"{__name__}.make_with_another_address"
    user = storage.create_user(
        user_info={"email": written}, email="ada@example.org", email_verified=True
    )
    assert user.email_verified is verified
    assert storage.find_user_by_id(user.id).email_verified is verified


def test_projects_own_factory_is_not_asked_for_a_taken_address(storage, settings):
    settings.CROSSAUTH_CREATE_USER = f"{__name__}.make_in_project"
    make_user("ada@example.org")
    with pytest.raises(AccountNotLinkedError):
        storage.create_user(**user_create())


def test_unrelated_integrity_error_propagates_and_leaves_nothing(storage, settings):
    settings.CROSSAUTH_CREATE_USER = f"{__name__}.fail_in_project"
    with pytest.raises(IntegrityError, match="unrelated"):
        storage.create_user(**user_create())
    assert count_users() == 0


@only_where(hasattr(get_user_model(), "first_name"))
def test_missing_column_is_an_integrity_error_not_a_taken_name(storage):
    with pytest.raises(IntegrityError):
        storage.create_user(**user_create(extra_fields={"first_name": None}))
    assert count_users() == 0


def test_refusal_leaves_an_outer_transaction_usable(storage):
    make_user("ada@example.org")
    with transaction.atomic():
        with pytest.raises(AccountNotLinkedError):
            storage.create_user(**user_create())
        make_user("bob@example.org")
    assert count_users() == 2


def test_user_and_identity_are_made_together(storage):
    user, account = storage.create_user_with_identity(
        user=user_create(email_verified=True),
        identity=identity_of(provider_user_id="7", user_info={"name": "Ada"}),
    )
    assert account.user_id == user.id
    assert account.user_info == {"name": "Ada"}
    assert user.email_verified is True
    assert list(user.social_accounts) == [account]


def test_identity_sees_the_saved_user_once(storage):
    seen = []

    def identify(user):
        seen.append(user.id)
        return identity_of()(user)

    user, _ = storage.create_user_with_identity(user=user_create(), identity=identify)
    assert seen == [user.id]
    assert user.id is not None


def test_user_id_may_come_back_as_text(storage):
    user, account = storage.create_user_with_identity(
        user=user_create(),
        identity=lambda user: {**identity_of()(user), "user_id": str(user.id)},
    )
    assert account.user_id == user.id


@pytest.mark.parametrize("owner", ["another", None, "garbage"])
def test_identity_of_another_owner_is_a_value_error(storage, owner):
    if owner == "another":
        owner = make_user("bob@example.org").pk
    before = count_users()
    with pytest.raises(ValueError, match="must belong"):
        storage.create_user_with_identity(
            user=user_create(),
            identity=lambda user: {**identity_of()(user), "user_id": owner},
        )
    assert count_users() == before


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, IntegrityError, KeyError]
)
def test_whatever_the_callback_raises_leaves_nothing(storage, error):
    raised = error("stop")

    def identify(user):
        raise raised

    with pytest.raises(error) as caught:
        storage.create_user_with_identity(user=user_create(), identity=identify)
    assert caught.value is raised
    assert count_users() == 0


def test_taken_identity_leaves_no_user(storage):
    owner = make_user("bob@example.org")
    SocialAccount.objects.create(user_id=owner.pk, **identity())
    with pytest.raises(AccountLinkedError):
        storage.create_user_with_identity(user=user_create(), identity=identity_of())
    assert count_users() == 1


def test_taken_address_merges_nothing(storage):
    make_user("ada@example.org")
    with pytest.raises(AccountNotLinkedError):
        storage.create_user_with_identity(user=user_create(), identity=identity_of())
    assert SocialAccount.objects.count() == 0


def test_refused_sign_up_leaves_an_outer_transaction_usable(storage):
    owner = make_user("bob@example.org")
    SocialAccount.objects.create(user_id=owner.pk, **identity())
    with transaction.atomic():
        with pytest.raises(AccountLinkedError):
            storage.create_user_with_identity(
                user=user_create(), identity=identity_of()
            )
        assert count_users() == 1
        make_user("eve@example.org")
    assert count_users() == 2


def test_extra_fields_of_an_identity_are_refused(storage):
    with pytest.raises(TypeError):
        storage.create_user_with_identity(
            user=user_create(),
            identity=lambda user: {**identity_of()(user), "extra_fields": {"x": 1}},
        )
    assert count_users() == 0
