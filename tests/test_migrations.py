from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

USERS = ["auth.User", "crossauth_django.User", "users.Member"]

# What a project's database looks like before and after the app is added.
LIST_SCHEMA = """
import json, sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    print(json.dumps(dict(rows)))
"""

MIGRATE_DJANGO = """
import django
from django.core.management import call_command
django.setup()
for app in ("contenttypes", "auth", "admin", "sessions"):
    call_command("migrate", app, verbosity=0)
"""


def run(*arguments: str, user: str = "auth.User", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "CROSSAUTH_TEST_DATABASE": "sqlite",
            "CROSSAUTH_TEST_USER": user,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def manage(*arguments: str, **options: Any) -> str:
    return run("-m", "django", *arguments, **options)


@pytest.mark.parametrize("user", USERS)
def test_no_model_is_without_its_migration(user):
    manage("makemigrations", "--check", "--dry-run", user=user)


@pytest.mark.parametrize("user", USERS)
def test_empty_database_is_migrated_and_checked(user, tmp_path):
    file = tmp_path / "db.sqlite3"
    names = f'{{"default": "{file}"}}'
    options = {"user": user, "CROSSAUTH_TEST_DATABASE_NAMES": names}
    manage("migrate", "-v0", **options)
    manage("check", "--database", "default", **options)
    tables = json.loads(run("-c", LIST_SCHEMA, str(file)))
    # Only the model in use has a table.
    assert ("crossauth_django_user" in tables) is (user == "crossauth_django.User")


def test_no_table_of_an_existing_project_changes(tmp_path):
    file = tmp_path / "db.sqlite3"
    options = {"CROSSAUTH_TEST_DATABASE_NAMES": f'{{"default": "{file}"}}'}
    run("-c", MIGRATE_DJANGO, **options)
    before = json.loads(run("-c", LIST_SCHEMA, str(file)))
    manage("migrate", "-v0", **options)
    after = json.loads(run("-c", LIST_SCHEMA, str(file)))
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert all(name.startswith("crossauth_") for name in added)
