"""Real threads on a barrier, many rounds; on SQLite as on the servers."""

# Every thread ends within its round.
# ruff: noqa: B007, B023

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from django.db.models.signals import pre_delete
from django.dispatch import Signal

from crossauth_django import accounts
from crossauth_django.exceptions import (
    AccountError,
    AccountLinkedError,
    AccountNotLinkedError,
)
from crossauth_django.models import SocialAccount
from crossauth_django.storage import AccountsStorage
from tests.accounts.conftest import (
    credentials,
    identity,
    identity_of,
    make_user,
    user_create,
)
from tests.concurrency import run_together

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 4


def rounds(count: int = ROUNDS) -> Iterator[int]:
    """Begin each round with empty tables, without the price of a test's own."""
    for number in range(count):
        get_user_model().objects.all().delete()
        yield number


@contextmanager
def connected(signal: Signal, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def users_with(email: str) -> int:
    model: Any = get_user_model()
    return model.objects.filter(**{model.get_email_field_name(): email}).count()


def kinds(results: list[Any]) -> set[type]:
    """Which errors came; ours may be the library's too, under their own name."""
    errors = [result for result in results if isinstance(result, BaseException)]
    print(*map(repr, errors), sep="\n")  # noqa: T201  (seen where the test fails)
    return {type(error) for error in errors}


def test_sixteen_sign_ups_with_one_identity_make_one_user():
    for round_ in rounds():
        results = run_together(
            16,
            lambda: accounts.sign_in_identity(
                provider="google",
                provider_user_id="1",
                email="ada@example.org",
                email_verified=round_ % 2 == 0,
                user_info={},
            ),
        )
        assert not kinds(results)
        assert len({result.user.pk for result in results}) == 1
        assert sum(result.created for result in results) == 1
        assert users_with("ada@example.org") == SocialAccount.objects.count() == 1


def test_sixteen_sign_ups_through_the_storage_make_one_user():
    for round_ in rounds():
        results = run_together(
            16,
            lambda: AccountsStorage().create_user_with_identity(
                user=user_create(), identity=identity_of()
            ),
        )
        assert kinds(results) <= {AccountLinkedError, AccountNotLinkedError}
        assert sum(isinstance(result, tuple) for result in results) == 1
        assert users_with("ada@example.org") == SocialAccount.objects.count() == 1


def test_sixteen_sign_ups_with_one_address_make_one_user():
    for round_ in rounds():
        numbers = itertools.count()
        results = run_together(
            16,
            lambda: AccountsStorage().create_user_with_identity(
                user=user_create(
                    "Ada@example.org" if next(numbers) % 2 else "ada@example.ORG"
                ),
                identity=lambda user: {
                    **identity_of()(user),
                    "provider_user_id": str(time.perf_counter_ns()),
                },
            ),
        )
        assert kinds(results) == {AccountNotLinkedError}
        assert sum(isinstance(result, tuple) for result in results) == 1
        assert users_with("ada@example.org") == SocialAccount.objects.count() == 1


def test_sixteen_users_may_want_one_username():
    for round_ in rounds(2):
        numbers = itertools.count()
        results = run_together(
            16,
            lambda: AccountsStorage().create_user(
                **user_create(f"ada@{next(numbers)}.example")
            ),
        )
        assert not kinds(results)
        assert get_user_model().objects.count() == 16


def test_sixteen_disconnects_of_two_login_methods_leave_one():
    for round_ in rounds():
        user = make_user()
        pks = [
            SocialAccount.objects.create(
                user_id=user.pk, **identity(provider_user_id=str(number))
            ).pk
            for number in range(2)
        ]
        rows = itertools.cycle(pks)
        results = run_together(
            16,
            lambda: AccountsStorage().disconnect_social_account(
                user_id=user.pk, provider="acme", social_account_id=next(rows)
            ),
        )
        assert SocialAccount.objects.count() == 1
        assert results.count("disconnected") == 1
        assert set(results) <= {"disconnected", "not_found", "last_login_method"}


def test_sixteen_links_by_different_users_give_one_owner():
    for round_ in rounds():
        users = iter([make_user(f"{number}@example.org") for number in range(16)])
        results = run_together(
            16,
            lambda: accounts.link(
                next(users), {**identity(), "user_id": None, "extra_fields": None}
            ),
        )
        assert kinds(results) == {AccountLinkedError}
        assert sum(isinstance(result, SocialAccount) for result in results) == 1
        assert SocialAccount.objects.count() == 1


def test_sixteen_retries_of_one_owner_get_one_row():
    for round_ in rounds():
        user = make_user()
        results = run_together(
            16,
            lambda: AccountsStorage().create_social_account(
                user_id=user.pk, **identity()
            ),
        )
        assert not kinds(results)
        assert {result.pk for result in results} == {SocialAccount.objects.get().pk}


def test_sixteen_proofs_of_one_address_are_one():
    for round_ in rounds():
        user = make_user()
        results = run_together(16, lambda: accounts.mark_email_verified(user))
        assert not kinds(results)
        assert AccountsStorage().find_user_by_id(user.pk).email_verified


def test_disconnect_and_link_never_leave_a_user_outside():
    user = make_user()
    for _ in range(ROUNDS):
        row = accounts.link(user, {**identity(), "user_id": None, "extra_fields": None})
        actions = itertools.cycle(
            [
                lambda row=row: accounts.unlink(user, row.pk),
                lambda row=row: AccountsStorage().update_social_account(
                    row.pk, **credentials(), enable_login=True
                ),
            ]
        )
        run_together(8, lambda actions=actions: next(actions)())
        assert SocialAccount.objects.filter(is_login_method=True).count() == 1


def test_many_threads_never_find_the_database_locked():
    numbers = itertools.count()

    def sign_in_twice():
        number = next(numbers)
        for _ in range(2):
            accounts.sign_in_identity(
                provider="acme",
                provider_user_id=str(number),
                email=f"{number}@example.org",
                email_verified=True,
                user_info={},
            )

    results = run_together(64, sign_in_twice)
    assert not kinds(results)
    assert get_user_model().objects.count() == 64


def test_many_deletes_never_find_the_database_locked_whoever_listens():
    def delete_six():
        for pk in itertools.islice(pks, 6):
            AccountsStorage().delete_social_account(pk)

    user = make_user()
    rows = [
        SocialAccount(user_id=user.pk, **identity(provider_user_id=str(number)))
        for number in range(64 * 6)
    ]
    SocialAccount.objects.bulk_create(rows)
    pks = iter(list(SocialAccount.objects.values_list("pk", flat=True)))
    # Of a project that looks at every deletion: Django reads each row for it first.
    with connected(pre_delete, lambda **arguments: None):
        results = run_together(64, delete_six)
    assert not kinds(results)
    assert not SocialAccount.objects.exists()


def test_lost_race_leaves_an_outer_transaction_usable():
    def sign_up():
        with transaction.atomic():
            try:
                AccountsStorage().create_user_with_identity(
                    user=user_create(), identity=identity_of()
                )
            except AccountError as error:
                # PostgreSQL refuses this in a transaction that has failed.
                get_user_model().objects.count()
                return error
            return None

    results = run_together(8, sign_up)
    assert results.count(None) == 1
    expected = {AccountLinkedError, AccountNotLinkedError}
    if connection.vendor == "mysql":
        # A deadlock takes the outer transaction with it; only its owner can try again.
        expected.add(OperationalError)
    assert kinds(results) <= expected
