"""Somebody else's writes at the worst moment, put there by watching the statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, OperationalError, connection, transaction

from crossauth_django import accounts
from crossauth_django.exceptions import AccountNotLinkedError
from crossauth_django.managers.transactions import in_transaction
from crossauth_django.models import SocialAccount
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import (
    credentials,
    has_unique_address,
    identity,
    make_user,
    only_where,
    set_email,
    user_create,
)
from tests.concurrency import run_together

pytestmark = pytest.mark.django_db(transaction=True)

DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")


@contextmanager
def watching(
    start: str,
    table: str,
    *,
    before: Callable[[], Any] = lambda: None,
    after: Callable[[], Any] = lambda: None,
    times: int = 1,
) -> Iterator[None]:
    """Call back around the first statements that begin so and name the table."""
    left = times

    def wrapper(execute: Any, sql: str, *arguments: Any) -> Any:
        nonlocal left
        if not left or not sql.startswith(start) or table not in sql:
            return execute(sql, *arguments)
        left -= 1
        kept = left
        # What the callbacks do is not watched.
        left = 0
        before()
        result = execute(sql, *arguments)
        after()
        left = kept
        return result

    with connection.execute_wrapper(wrapper):
        yield


def sign_in(**changes: Any) -> accounts.SignedIn:
    return accounts.sign_in_identity(
        **{
            "provider": "google",
            "provider_user_id": "1",
            "email": "ada@example.org",
            "email_verified": True,
            "user_info": {},
            **changes,
        }
    )


def connect(user: Any) -> SocialAccount:
    return SocialAccount.objects.create(
        user_id=user.pk, **identity(provider="google", provider_user_id="1")
    )


def fail(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


SOCIAL = "socialaccount"
USERS = get_user_model()._meta.db_table


def test_connection_removed_before_it_is_updated_signs_up_anew():
    user = make_user("other@example.org")
    account = connect(user)
    with watching("SELECT", SOCIAL, after=account.delete):
        signed_in = sign_in()
    assert signed_in.created
    assert signed_in.user != user


def test_connection_removed_before_it_is_linked_again_is_made_anew():
    user = make_user()
    account = connect(user)
    values = identity(provider="google", provider_user_id="1", scope="new")
    with watching("UPDATE", SOCIAL, before=account.delete):
        linked = accounts.link(user, {**values, "user_id": None, "extra_fields": None})
    assert SocialAccount.objects.get() == linked
    assert linked.scope == "new"


def test_connection_that_comes_and_goes_all_the_time_is_given_up():
    user = make_user("other@example.org")
    gone = SocialAccount.objects.all().delete
    with (
        pytest.raises(AccountNotLinkedError, match="all the time"),
        watching("SELECT", SOCIAL, before=lambda: connect(user), after=gone, times=9),
    ):
        sign_in()


def test_identity_that_signed_up_between_two_looks_signs_in():
    made = []

    def sign_up() -> None:
        made.append(make_user("ada@example.org"))
        connect(made[0])

    with watching("SELECT", SOCIAL, after=sign_up):
        signed_in = sign_in(email_verified=False)
    assert (signed_in.user, signed_in.created) == (made[0], False)


def test_address_given_up_before_the_account_is_joined_is_free():
    user = make_user("ada@example.org")
    with watching("UPDATE", USERS, before=lambda: set_email(user, "moved@example.org")):
        signed_in = sign_in()
    assert signed_in.created
    assert signed_in.user != user


def test_user_deleted_before_the_account_is_joined_is_forgotten():
    user = make_user("ada@example.org")
    with watching("SELECT", USERS, after=user.delete):
        signed_in = sign_in()
    assert signed_in.created


def test_identity_taken_while_the_account_is_joined_is_the_takers():
    make_user("ada@example.org", password="secret")
    taker = make_user("taker@example.org")
    with watching("SELECT", USERS, after=lambda: connect(taker)):
        signed_in = sign_in()
    assert signed_in.user == taker
    # Nothing of the claim is left.
    model: Any = get_user_model()
    ada = model.objects.exclude(pk=taker.pk).get()
    assert ada.check_password("secret")


@only_where(connection.vendor == "postgresql")
def test_identity_taken_behind_an_older_snapshot_is_the_takers(monkeypatch):
    from psycopg import IsolationLevel

    def taken() -> None:
        run_together(1, lambda: connect(taker))

    def sign_in_meanwhile() -> accounts.SignedIn:
        with watching("INSERT", SOCIAL, before=taken):
            return sign_in()

    taker = make_user("taker@example.org")
    # New connections have it: those of the threads.
    level = IsolationLevel.REPEATABLE_READ
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", level)
    (signed_in,) = run_together(1, sign_in_meanwhile)
    assert (signed_in.user, signed_in.created) == (taker, False)


# On SQLite nobody else writes in the middle of a transaction that has written.
@only_where(has_unique_address() and connection.vendor != "sqlite")
def test_address_taken_by_other_code_at_the_same_moment_is_taken():
    def other_code() -> None:
        run_together(1, lambda: make_user("ada@example.org"))

    with (
        watching("INSERT", USERS, before=other_code),
        pytest.raises(AccountNotLinkedError),
    ):
        AccountsStorage().create_user(**user_create())
    assert get_user_model().objects.count() == 1


def test_failed_promotion_rolls_the_credentials_back(storage, keep_tokens):
    values = identity(access_token="first", is_login_method=False)
    account = storage.create_social_account(user_id=make_user().pk, **values)
    # The row is read again after it was written.
    with (
        pytest.raises(OperationalError, match="no disk"),
        watching("SELECT", SOCIAL, before=fail(OperationalError("no disk"))),
    ):
        storage.update_social_account(
            account.id, **credentials(access_token="second"), enable_login=True
        )
    found = storage.find_social_account_by_id(account.id)
    assert (found.access_token, found.is_login_method) == ("first", False)


def test_deadlock_of_a_sign_up_is_tried_again():
    with watching("INSERT", SOCIAL, before=fail(DEADLOCK)):
        signed_in = sign_in()
    assert signed_in.created
    assert get_user_model().objects.count() == 1


def test_deadlock_inside_an_outer_transaction_is_its_owners():
    with (
        pytest.raises(OperationalError),
        transaction.atomic(),
        watching("INSERT", SOCIAL, before=fail(DEADLOCK)),
    ):
        sign_in()
    assert get_user_model().objects.count() == 0


@pytest.mark.parametrize(
    ("errors", "calls"), [([], 1), ([DEADLOCK], 2), ([DEADLOCK] * 9, 10)]
)
def test_own_transaction_starts_again(errors, calls):
    made = []

    def work() -> str:
        made.append(1)
        if len(made) <= len(errors):
            raise errors[len(made) - 1]
        return "done"

    assert in_transaction(work, using="default") == "done"
    assert len(made) == calls


@pytest.mark.parametrize(
    "error", [DEADLOCK, OperationalError("no disk"), IntegrityError()]
)
def test_transaction_is_not_tried_for_ever_nor_for_another_reason(error):
    made = []

    def work() -> None:
        made.append(1)
        raise error

    with pytest.raises(type(error)):
        in_transaction(work, using="default")
    assert len(made) == (10 if error is DEADLOCK else 1)
