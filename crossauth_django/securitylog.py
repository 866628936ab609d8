"""The log of security events: one line and the same as fields, never a secret in it."""

from __future__ import annotations

import logging
import re

from crossauth_django.addresses import reduced
from crossauth_django.conf import conf
from crossauth_django.crypto import keyed_digest

logger = logging.getLogger("crossauth_django.security")

_REQUEST_ID = re.compile(r"[\w.:/=+-]{1,100}", re.ASCII)


def write(
    level: int,
    event: str,
    *,
    username: str | None = None,
    address: str | None = None,
    request_id: str = "",
    **fields: str | int,
) -> None:
    """Log ``event`` with its fields, in the message and as attributes of the record.

    ``username`` is written as a keyed digest and ``address`` as its neighbourhood, unless
    ``CROSSAUTH_LOG_NAMES``. Line breaks and other control characters cannot forge a line (ASVS
    16.4.1), whether a formatter prints the message or the attributes: texts are alike in both.
    """
    if not logger.isEnabledFor(level):
        return
    in_full = conf.CROSSAUTH_LOG_NAMES
    parts: dict[str, str | int] = {"event": event, **fields}
    if username is not None:
        parts["username"] = username if in_full else name_digest(username)
    if address is not None:
        parts["address"] = address if in_full else reduced(address)
    if _REQUEST_ID.fullmatch(request_id):
        parts["request_id"] = request_id
    safe = {key: _printable(value) for key, value in parts.items()}
    line = " ".join(f"{key}={value}" for key, value in safe.items())
    logger.log(level, "%s", line, extra=safe)


def name_digest(name: str, length: int = 16) -> str:
    """Return the 16 hex characters that stand for a name in the log and in operators' lists."""
    return keyed_digest("log.name", name)[:length]


def _printable(value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    if value.isprintable() and " " not in value and value:
        return value[:200]
    return ascii(value[:200])
