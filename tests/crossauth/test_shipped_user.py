"""The same flows once more, with the user model that the app ships."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import services

FLOWS = Path(__file__).with_name("test_flows.py")


def test_flows_hold_for_the_shipped_user():
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n0",
            "-p",
            "no:cacheprovider",
            str(FLOWS),
        ],
        env={**services.alone(), "CROSSAUTH_TEST_USER": "crossauth_django.User"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
