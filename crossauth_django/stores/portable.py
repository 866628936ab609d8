"""What the engines without scripts share: the worker's clock, and waiting that ends.

Lifetimes count on the worker's own clock here, so the clocks of several machines have to
agree (NTP) as exactly as a lifetime is to be kept. Redis counts on the server's clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from crossauth_django.exceptions import StoreBusyError

# Longer than a lock lives (memcached) or is waited for (databases), so that the lock of a
# worker that died is waited out.
_PATIENCE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 0.05

# Backends count whole seconds and may drop an entry up to one second early; what counts is
# the expiry inside the value.
SLACK_SECONDS = 2

NEVER = 0


def now_ms() -> int:
    """Return this worker's clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def expiry_ms(life: int | None) -> int:
    """Return the moment at which a lifetime in milliseconds ends; ``NEVER`` for None."""
    return NEVER if life is None else now_ms() + life


def is_past(expiry: int) -> bool:
    """Say whether the moment has come; ``NEVER`` does not come."""
    return expiry != NEVER and expiry <= now_ms()


def attempts(alias: str) -> Iterator[None]:
    """Yield for each attempt, with growing random pauses between two.

    Somebody else was faster, or holds a lock, each time that another one is asked for. Raise
    ``StoreBusyError`` after ten seconds of that.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.0005
    while True:
        yield
        if time.monotonic() > deadline:
            raise StoreBusyError(f"CACHES[{alias!r}]: the key stays busy")
        time.sleep(random.uniform(0, pause))  # noqa: S311  (spreads the workers, hides nothing)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
