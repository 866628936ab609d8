"""What a process remembers of a server that does not answer."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("crossauth_django.sessions")

_SILENCE_SECONDS = 1
_LOG_SECONDS = 60


class Outage:
    """Says when not to ask, and says so in the log once a minute: ``consequence`` is what."""

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self._silent_until = 0.0
        self._log_after = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the server failed within the last second.

        One that hangs costs one timeout a second, not one a request.
        """
        return time.monotonic() < self._silent_until

    def note(self, error: Exception) -> None:
        """Begin the silence anew."""
        now = time.monotonic()
        self._silent_until = now + _SILENCE_SECONDS
        if now >= self._log_after:
            self._log_after = now + _LOG_SECONDS
            logger.warning("%s: %s", self._consequence, error)
