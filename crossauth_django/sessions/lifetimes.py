"""When a session is over: idle, absolute and the cookie's age, whichever comes first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY

from crossauth_django.conf import conf
from crossauth_django.managers.copy_format import ROW, Copy
from crossauth_django.managers.moments import to_seconds, to_version

if TYPE_CHECKING:
    from crossauth_django.models import UserSession

# In the session's data: this device is remembered.
REMEMBER_KEY = "_crossauth_remember"


def timeouts(data: dict[str, Any]) -> tuple[timedelta, timedelta]:
    """Return the idle and the absolute timeout of a signed-in session with these data."""
    if data.get(REMEMBER_KEY):
        age = conf.CROSSAUTH_SESSION_REMEMBER_ME_AGE
        return age, age
    return conf.CROSSAUTH_SESSION_IDLE_TIMEOUT, conf.CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT


def touch_interval(data: dict[str, Any]) -> float:
    """Return for how many seconds no activity is written.

    At most half the idle timeout: what is not written would be over while it is in use.
    """
    interval = min(conf.CROSSAUTH_SESSION_TOUCH_INTERVAL, timeouts(data)[0] / 2)
    return interval.total_seconds()


def is_over(copy: Copy, data: dict[str, Any], now: float) -> bool:
    """Say whether the last moment of a session has passed; times in seconds since 1970.

    What the row says counts, so that the engine, the device list and the cap agree. Timeouts are
    read anew, too, so that shorter ones count for sessions that began before; longer ones count
    from the next activity on.
    """
    return now > min(copy.expires, expiry_of(copy, data))


def expiry_of(copy: Copy, data: dict[str, Any]) -> float:
    """Return when a session will be over without activity after ``copy.seen``.

    Timeouts are for who is signed in; a visitor's session lives as long as the cookie.
    """
    if SESSION_KEY not in data:
        return copy.ends
    idle, absolute = timeouts(data)
    return min(
        copy.ends,
        copy.created + absolute.total_seconds(),
        copy.seen + idle.total_seconds(),
    )


def copy_of(row: UserSession, text: str) -> Copy:
    """Return a row as a copy that nobody has put into the cache yet."""
    return Copy(
        kind=ROW,
        nonce="",
        seen=to_seconds(row.last_active_at or row.created_at),
        created=to_seconds(row.created_at),
        ends=to_seconds(row.ends_at or row.expires_at),
        expires=to_seconds(row.expires_at),
        version=to_version(row.changed_at),
        text=text,
    )
