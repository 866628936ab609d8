from __future__ import annotations

import threading

import pytest

from tests.concurrency import run_together


def test_a_thread_that_does_not_end_is_an_error_and_no_result():
    release = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            run_together(2, release.wait, seconds=0.1)
    finally:
        release.set()
