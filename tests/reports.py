"""What the error report of a production site shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

# Frames of the tests and of their client know everything.
OURS = ("/tests/", "/django/test/", "/_pytest/")


def report_of(caught: pytest.ExceptionInfo[Any]) -> str:
    """Return the frames of Django's report with their variables, causes included."""
    reporter = ExceptionReporter(
        RequestFactory().get("/"), caught.type, caught.value, caught.tb
    )
    return "\n".join(
        f"{frame['filename']} in {frame['function']}: {frame['vars']}"
        for frame in reporter.get_traceback_data()["frames"]
        if not any(part in frame["filename"] for part in OURS)
    )
