"""Transactions that wait for each other in one order, and start again where they must."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import OperationalError, models, transaction
from django.db.models import F

from crossauth_django.managers.tables import rows

R = TypeVar("R")

_ATTEMPTS = 10
# The longest before the second attempt; before each other one by as much longer.
_PAUSE_SECONDS = 0.005
# MySQL and MariaDB: deadlock, also over a table's next number, and a row that changed under
# a snapshot.
_TRANSIENT_NUMBERS = {1213, 1467, 1020}
# PostgreSQL: serialization failure and deadlock (SQLSTATE class 40).
_TRANSIENT_STATES = {"40001", "40P01"}


def in_transaction(
    work: Callable[[], R], *, using: str, may_retry: Callable[[], bool] = lambda: True
) -> R:
    """Call ``work`` in a transaction of its own, or in a savepoint of the caller's.

    It is done again as ``until_done`` says. ``work`` begins with a write: SQLite cannot turn
    a transaction that has read into one that writes while another connection writes.
    """

    def attempt() -> R:
        with transaction.atomic(using=using):
            return work()

    return until_done(attempt, using=using, may_retry=may_retry)


def until_done(
    work: Callable[[], R], *, using: str, may_retry: Callable[[], bool] = lambda: True
) -> R:
    """Call ``work``, a statement or a transaction, until it is done.

    What the database undid because of other transactions is done again, unless an outer
    transaction was undone with it.
    """
    is_outermost = not transaction.get_connection(using).in_atomic_block
    attempt = 1
    while True:
        try:
            return work()
        except OperationalError as error:  # noqa: PERF203  (it is a loop of retries)
            is_final = not is_outermost or attempt == _ATTEMPTS
            if is_final or not is_transient(error) or not may_retry():
                raise
            # Those that undid each other would meet again.
            time.sleep(random.uniform(0, attempt * _PAUSE_SECONDS))  # noqa: S311
            attempt += 1


def is_transient(error: OperationalError) -> bool:
    """Say whether the same transaction may succeed when it is tried again."""
    state = getattr(error.__cause__, "sqlstate", None)
    return state in _TRANSIENT_STATES or error.args[:1] in {
        (number,) for number in _TRANSIENT_NUMBERS
    }


def after_commit(callback: Callable[[], object], *, using: str) -> None:
    """Call when what was written so far is committed; at once outside a transaction.

    At once, too, in the transaction that a ``TestCase`` puts around everything and never commits.
    """
    if in_real_transaction(using):
        transaction.on_commit(callback, using=using)
    else:
        callback()


def in_real_transaction(using: str) -> bool:
    """Say whether a transaction is open that will be committed."""
    blocks = transaction.get_connection(using).atomic_blocks
    return bool(blocks) and not getattr(blocks[0], "_from_testcase", False)


def lock_user(users: models.QuerySet[AbstractBaseUser], pk: Any) -> bool:
    """Hold the user's row until the transaction ends; False when there is none.

    A no-op UPDATE, because ``select_for_update`` does nothing on SQLite. It changes no
    column, ``auto_now`` included.
    """
    name = users.model._meta.pk.name
    return bool(users.filter(pk=pk).update(**{name: F(name)}))


def lock_address(email: str, *, using: str) -> None:
    """Let one transaction at a time decide whether a normalised address is taken.

    A user model without a unique address has no constraint to decide it. Addresses share
    256 rows, so the table says nothing about who signed up, and never grows.
    """
    locks = rows("AddressLock", using=using)
    number = hashlib.sha256(email.encode()).digest()[0]
    # UPDATE first: INSERT would take a shared lock on MySQL, and two of them a deadlock.
    if not locks.filter(pk=number).update(number=F("number")):
        locks.bulk_create([locks.model(number=number)], ignore_conflicts=True)
        locks.filter(pk=number).update(number=F("number"))
