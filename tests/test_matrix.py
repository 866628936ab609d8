"""The accounts' conformance suite, once more for each user model and database that matters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest
from django.conf import settings

from tests import services

# Who wins a race is up to the database and to the unique address that a model has or has not:
# these differ in neither from another cell, or from this run.
# Nor does what is about errors, loops, logs and malformed values, whoever the users are.
_ELSEWHERE = ("races", "errors", "event_loop", "reports", "garbage")
RACELESS = tuple(f"--ignore=tests/accounts/test_{name}.py" for name in _ELSEWHERE)
# The storage over these models is no other than over the cell's neighbour.
BY_MANAGER = (*RACELESS, "-k", "not storage")


class Cell(NamedTuple):
    database: str
    user: str
    options: tuple[str, ...] = ()
    use_tz: str = "1"

    def __str__(self) -> str:
        return f"{self.database}-{self.user}-{self.use_tz}"


CELLS = [
    Cell("postgres", "auth.User"),
    Cell("postgres", "crossauth_django.User"),
    Cell("postgres", "users.MixinUser", BY_MANAGER),
    Cell("postgres", "users.ManagedUser", BY_MANAGER),
    Cell("postgres", "users.Member", RACELESS),
    Cell("mariadb", "auth.User"),
    Cell("mariadb", "crossauth_django.User"),
    Cell("mariadb", "users.MixinUser", BY_MANAGER),
    Cell("mariadb", "users.ManagedUser", BY_MANAGER),
    Cell("mariadb", "users.Member", RACELESS),
    Cell("sqlite", "crossauth_django.User", RACELESS),
    Cell("sqlite", "users.MixinUser", BY_MANAGER),
    Cell("sqlite", "users.ManagedUser", BY_MANAGER),
    Cell("sqlite", "users.OwnFlagUser", BY_MANAGER),
    Cell("sqlite", "users.Member", RACELESS),
    Cell("sqlite", "users.FlaggedUser", RACELESS),
    Cell("sqlite", "auth.User", RACELESS, use_tz="0"),
]


def conform(cell: Cell) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0"]
    command += ["-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--nomigrations", "tests/accounts", *cell.options],
        env={
            **services.alone(),
            # The servers of this run; nothing else is started.
            "CROSSAUTH_TEST_SERVICES": "redis",
            "CROSSAUTH_TEST_DATABASE": cell.database,
            "CROSSAUTH_TEST_USER": cell.user,
            "CROSSAUTH_TEST_USE_TZ": cell.use_tz,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _is_possible(cell: Cell) -> bool:
    # In CI a missing server is a failure.
    runs = cell.database == "sqlite" or cell.database in settings.DATABASES
    return runs or "CI" in os.environ


Runs = dict[Cell, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The selected cells, two at a time."""
    selected = [
        item.callspec.params["cell"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_accounts_conform
    ]
    with ThreadPoolExecutor(2) as threads:
        yield {
            cell: threads.submit(conform, cell)
            for cell in filter(_is_possible, selected)
        }


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_accounts_conform(cell: Cell, runs: Runs) -> None:
    if not _is_possible(cell):
        pytest.skip(f"no {cell.database} runs here")
    run = runs[cell].result()
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
