"""One budget: so many at once, and each comes back evenly over the time (GCRA)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from crossauth_django.conf import LONGEST
from crossauth_django.crypto import keyed_digest
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.stores import Outcome, Reply, Step, Write, breaker

logger = logging.getLogger("crossauth_django.limits")


@dataclass(frozen=True)
class RateLimit:
    """At most ``times`` at once, refilled evenly over ``seconds``; 0 times is no limit.

    The budget slides: there is no edge of a window at which it doubles, and after a burst one
    comes back every ``seconds / times``.
    """

    times: int
    seconds: float

    def __post_init__(self) -> None:
        if type(self.times) is not int or self.times < 0:
            raise ValueError("A rate limit is a whole number of times, from 0.")
        # Neither infinity nor NaN is between the two.
        if not 0 < self.seconds <= LONGEST.total_seconds():
            raise ValueError("A rate limit's seconds are above 0, at most ten years.")

    @property
    def interval_us(self) -> int:
        """How long until one comes back, in microseconds, rounded up."""
        return max(1, -(-round(self.seconds * 1_000_000) // self.times))


@dataclass(frozen=True)
class Usage:
    """What a budget says to one request; lengths in whole seconds.

    ``retry_after`` is 0 when it is allowed, ``reset_after`` how long until the budget is whole.
    """

    is_allowed: bool
    limit: int
    remaining: int
    retry_after: int
    reset_after: int


def take(
    action: str, subject: str, limit: RateLimit, *, kind: str = "target"
) -> Usage | None:
    """Take one from the budget of ``subject`` for ``action``, in one step.

    None where nothing limits: 0 times, or a cache that is down, which is logged (fail open). The
    subject is any text, kept as a keyed digest. Subjects of another kind have other budgets: who
    types an address as a target must not use up its owner's.
    """
    if not limit.times:
        return None
    keys, arguments = _call(action, f"{kind}:{subject}", limit)
    try:
        return _usage(breaker.step(_TAKE, keys, arguments, ""), limit)
    except StoreUnavailableError as error:
        logger.warning("Nothing limits %r now: %s", action, error)
        return None


async def atake(
    action: str, subject: str, limit: RateLimit, *, kind: str = "target"
) -> Usage | None:
    """Do what ``take`` does, without blocking the event loop."""
    if not limit.times:
        return None
    keys, arguments = _call(action, f"{kind}:{subject}", limit)
    try:
        return _usage(await breaker.astep(_TAKE, keys, arguments, ""), limit)
    except StoreUnavailableError as error:
        logger.warning("Nothing limits %r now: %s", action, error)
        return None


def _call(
    action: str, subject: str, limit: RateLimit
) -> tuple[list[str], list[str | int]]:
    # The limit is part of the name: an action may have several, and a change starts afresh.
    name = f"{action}:{limit.times}:{limit.interval_us}"
    key = f"limit:{name}:{keyed_digest('limit', subject)[:40]}"
    return [key], [limit.times, limit.interval_us]


def _usage(reply: Reply, limit: RateLimit) -> Usage:
    allowed, left, wait, reset = (int(item or 0) for item in reply)
    return Usage(
        is_allowed=bool(allowed),
        limit=limit.times,
        remaining=left,
        retry_after=0 if allowed else max(1, _seconds(wait)),
        reset_after=_seconds(reset),
    )


def _twin(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    times, interval = int(args[0]), int(args[1])
    now_us, whole = now * 1000, times * interval
    full_at = max(int(values[0] or now_us), now_us)
    wait = full_at + interval - whole - now_us
    writes = {}
    if wait <= 0:
        full_at += interval
        writes[0] = Write(str(full_at), -(-(full_at - now_us) // 1000))
    left = (whole - (full_at - now_us)) // interval
    reply: Reply = [
        int(wait <= 0),
        left,
        max(0, -(-wait // 1000)),
        -(-(full_at - now_us) // 1000),
    ]
    return Outcome(reply, writes)


_TAKE = Step("limit", _twin)


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)
