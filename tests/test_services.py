from __future__ import annotations

import os

from tests import services


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
