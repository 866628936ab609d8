from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import services

ROOT = Path(__file__).resolve().parents[1]


EXAMPLE = """
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
call_command("migrate", verbosity=0)
get_user_model().objects.create_user("a@example.org", password="right")
client, page = Client(), reverse("sign_in")
guess = {"username": "a@example.org", "password": "wrong"}
print([client.post(page, guess, HTTP_HOST="127.0.0.1").status_code for _ in range(7)])
"""


def test_the_examples_sign_in_page_is_covered(tmp_path):
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
    }
    environment.pop("REDIS_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str([200] * 5 + [429] * 2), done.stderr


def test_the_doors_of_drf_simplejwt_and_allauth_are_covered(tmp_path):
    environment = {
        **services.alone(),
        "CROSSAUTH_TEST_DOORS": "1",
        "CROSSAUTH_TEST_DATABASE": "sqlite",
        "CROSSAUTH_TEST_FOLDER": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "tests.doors.settings",
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n0",
            "--ds=tests.doors.settings",
            "tests/doors",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
