"""The accounts' conformance suite, once more for each user model and database that matters."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings

CELLS = [
    ("sqlite", "crossauth_django.User", {}),
    ("sqlite", "users.MixinUser", {}),
    ("sqlite", "users.ManagedUser", {}),
    ("sqlite", "users.Member", {}),
    ("sqlite", "users.FlaggedUser", {}),
    ("sqlite", "auth.User", {"CROSSAUTH_TEST_USE_TZ": "0"}),
    ("postgres", "auth.User", {}),
    ("postgres", "crossauth_django.User", {}),
    ("mariadb", "auth.User", {}),
    ("mariadb", "crossauth_django.User", {}),
]


def _id(value: Any) -> str:
    return "-".join(value) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("database", "user", "more"), CELLS, ids=_id)
def test_accounts_conform(database: str, user: str, more: dict[str, str]) -> None:
    is_missing = database != "sqlite" and database not in settings.DATABASES
    if is_missing and "CI" not in os.environ:
        pytest.skip(f"no {database} runs here")
    environment = {
        **os.environ,
        # The servers of this run; nothing else is started.
        "CROSSAUTH_TEST_SERVICES": "redis",
        "CROSSAUTH_TEST_DATABASE": database,
        "CROSSAUTH_TEST_USER": user,
        **more,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "--nomigrations", "tests/accounts"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
