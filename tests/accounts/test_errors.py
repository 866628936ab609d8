"""Errors beside cross-auth, which the tests of this file stand in for by its module name alone."""

from __future__ import annotations

import sys
import types

import pytest

from crossauth_django.exceptions import (
    AccountError,
    AccountLinkedError,
    AccountMissingError,
)
from crossauth_django.managers.refusals import refusal


def test_errors_are_ours_where_the_library_is_not(monkeypatch):
    monkeypatch.delitem(sys.modules, "cross_auth.exceptions", raising=False)
    error = refusal(AccountLinkedError, "taken")
    assert type(error) is AccountLinkedError
    assert str(error) == "taken"


def test_library_is_never_imported():
    import subprocess

    code = (
        "import django; django.setup()\n"
        "from crossauth_django.storage import AccountsStorage\n"
        "import sys; sys.exit('cross_auth' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False)
    assert run.returncode == 0


@pytest.mark.parametrize("kind", [AccountLinkedError, AccountMissingError])
def test_errors_are_the_librarys_too_where_it_is_loaded(monkeypatch, kind):
    class CrossAuthException(Exception):  # noqa: N818
        def __init__(self, error, error_description=None, status_code=400):
            self.error = error

    module = types.ModuleType("cross_auth.exceptions")
    module.CrossAuthException = CrossAuthException
    monkeypatch.setitem(sys.modules, "cross_auth.exceptions", module)
    error = refusal(kind, "reason")
    assert isinstance(error, (kind, AccountError))
    assert isinstance(error, CrossAuthException)
    assert error.args == (kind.code, "reason")
    assert error.error == error.code == kind.code
    assert isinstance(error, ValueError) is (kind is AccountMissingError)
