from __future__ import annotations

import os

# They need apps of their own, which Django takes once a process: test_doors.py runs them.
if os.environ.get("CROSSAUTH_TEST_DOORS") != "1":
    collect_ignore_glob = ["test_*.py"]
