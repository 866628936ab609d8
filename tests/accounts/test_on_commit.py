from __future__ import annotations

import pytest
from django.db import transaction

pytestmark = pytest.mark.django_db(transaction=True)


def test_called_at_once_outside_a_transaction(storage):
    calls = []
    storage.on_commit(lambda: calls.append(1))
    assert calls == [1]


def test_called_after_the_outermost_commit(storage):
    calls = []
    with transaction.atomic():
        with transaction.atomic():
            storage.on_commit(lambda: calls.append(1))
        assert calls == []
    assert calls == [1]


def test_dropped_with_a_rolled_back_savepoint(storage):
    calls = []
    with transaction.atomic(), transaction.atomic():
        storage.on_commit(lambda: calls.append(1))
        transaction.set_rollback(True)
    assert calls == []


def test_dropped_with_a_rolled_back_transaction(storage):
    calls = []
    with transaction.atomic():
        storage.on_commit(lambda: calls.append(1))
        transaction.set_rollback(True)
    assert calls == []


def test_its_exception_propagates(storage):
    def fail():
        raise KeyError("hook")

    with pytest.raises(KeyError, match="hook"):
        storage.on_commit(fail)
    with pytest.raises(KeyError, match="hook"), transaction.atomic():
        storage.on_commit(fail)
