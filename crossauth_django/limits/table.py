"""Which actions have a limit of their own, and what ``CROSSAUTH_RATE_LIMITS`` makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossauth_django.conf import conf
from crossauth_django.limits.budget import RateLimit

HOUR = 3600

# Action: how many an hour, and by whom they are counted. Only the last two are pages of this app;
# the others are for a project's. Those that end in _request are to be counted silently, too, by the
# address that a mail would go to: take().
OWN: Mapping[str, tuple[int, str]] = {
    "register": (5, "ip"),
    "email_verify_request": (5, "ip"),
    "password_reset_request": (5, "ip"),
    "email_change_request": (3, "ip"),
    "change_password": (5, "user"),
    "logout_all": (10, "user"),
    "oauth_authorize": (30, "ip"),
    "lockout_unlock_email": (5, "target"),
}


def limit_of(action: str) -> RateLimit:
    """Return the limit of one of this app's own actions, as the project wants it.

    Raise ``LookupError`` for an action that is not in the table.
    """
    times, _ = OWN[action]
    override = conf.CROSSAUTH_RATE_LIMITS.get(action)
    if override is None:
        return RateLimit(times, HOUR)
    return _read(override)


def wrong_limits(limits: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with each faulty entry of ``CROSSAUTH_RATE_LIMITS``, by name."""
    wrong = {}
    for action, value in limits.items():
        if action not in OWN:
            wrong[action] = "is no action of crossauth_django"
            continue
        try:
            _read(value)
        except (TypeError, ValueError, OverflowError):
            wrong[action] = (
                "is neither 0 nor (times, seconds), a whole number in up to ten years"
            )
    return wrong


def _read(value: Any) -> RateLimit:
    if isinstance(value, RateLimit):
        return value
    if type(value) is int:
        # A number alone keeps the hour; 0 turns the limit off.
        return RateLimit(value, HOUR)
    times, seconds = value
    if type(times) is not int or isinstance(seconds, bool):
        raise TypeError("not numbers")
    return RateLimit(times, float(seconds))
