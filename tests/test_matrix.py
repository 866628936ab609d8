"""The accounts' conformance suite, once more for each user model and database that matters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

# Who wins a race is up to the database and to the unique address that a model has or has not:
# these differ in neither from another cell, or from this run.
RACELESS = ["--ignore=tests/accounts/test_races.py"]
CELLS = [
    ("sqlite", "crossauth_django.User", []),
    ("sqlite", "users.MixinUser", RACELESS),
    ("sqlite", "users.ManagedUser", RACELESS),
    ("sqlite", "users.Member", RACELESS),
    ("sqlite", "users.FlaggedUser", RACELESS),
    ("postgres", "auth.User", []),
    ("postgres", "crossauth_django.User", []),
    ("mariadb", "auth.User", []),
    ("mariadb", "crossauth_django.User", []),
]


def conform(database: str, user: str, *options: str, **more: str) -> None:
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
        [*command, "--nomigrations", "tests/accounts", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.mark.parametrize(
    ("database", "user", "options"),
    CELLS,
    ids=[f"{cell[0]}-{cell[1]}" for cell in CELLS],
)
def test_accounts_conform(database: str, user: str, options: list[str]) -> None:
    is_missing = database != "sqlite" and database not in settings.DATABASES
    if is_missing and "CI" not in os.environ:
        pytest.skip(f"no {database} runs here")
    conform(database, user, *options)


def test_accounts_conform_without_time_zones() -> None:
    conform("sqlite", "auth.User", *RACELESS, CROSSAUTH_TEST_USE_TZ="0")
