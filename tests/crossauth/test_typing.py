from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.accounts.conftest import only_where
from tests.crossauth.conftest import RELEASE

PROOF = Path(__file__).with_name("typing_proof.py")


@only_where(not RELEASE.startswith("0.12."))
def test_mypy_accepts_our_classes_for_the_librarys_protocols(tmp_path):
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    run = subprocess.run(
        # The package itself is checked elsewhere, by the newest Django's types.
        [*command, "--follow-imports=silent", str(PROOF)],
        # Only the model in use has its related managers.
        env={**os.environ, "CROSSAUTH_TEST_USER": "crossauth_django.User"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout
