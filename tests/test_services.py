from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import services

ROOT = Path(__file__).resolve().parents[1]
MEASURING = """
def test_it(record_property):
    record_property("figures", "3 of 4")
"""


def test_redis_runs_in_every_run():
    assert "CROSSAUTH_TEST_REDIS_URL" in os.environ


def test_ci_runs_with_every_service():
    if "CI" in os.environ:
        missing = [
            n
            for n in services.NAMES
            if f"CROSSAUTH_TEST_{n.upper()}_URL" not in os.environ
        ]
        assert missing == []


def test_a_parallel_run_prints_what_its_tests_have_measured(tmp_path):
    (tmp_path / "test_it.py").write_text(MEASURING)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-n1", tmp_path]
    environment = {**services.alone(), "CROSSAUTH_TEST_SERVICES": "redis"}
    environment.pop("CI", None)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "\n3 of 4\n" in done.stdout, done.stdout + done.stderr
