from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_doors_of_drf_simplejwt_and_allauth_are_covered(tmp_path):
    environment = {
        **os.environ,
        "CROSSAUTH_TEST_DOORS": "1",
        "CROSSAUTH_TEST_DATABASE": "sqlite",
        "CROSSAUTH_TEST_FOLDER": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "tests.doors.settings",
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
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
