"""Errors beside cross-auth, which the tests of this file stand in for by its module name alone."""

from __future__ import annotations

import os
import subprocess
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


def test_library_is_never_imported(tmp_path):
    (tmp_path / "cross_auth.py").write_text("raise SystemExit('imported')")
    code = (
        "import importlib, pkgutil, django, crossauth_django; django.setup()\n"
        "for each in pkgutil.walk_packages(crossauth_django.__path__, 'crossauth_django.'):\n"
        "    importlib.import_module(each.name)\n"
        "from crossauth_django.exceptions import AccountLinkedError\n"
        "from crossauth_django.managers.refusals import refusal\n"
        "refusal(AccountLinkedError, 'reason')\n"
        "import sys; sys.exit('cross_auth' in sys.modules)"
    )
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


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
