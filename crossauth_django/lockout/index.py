"""The index of locks, for operators: a line with the last unlocking of all, then one for each.

A line says until when, which subject, which round, and sealed whom it is about ("-" without a
key). Like the policy, this is the Python twin of ``stores/scripts/lockout.lua``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossauth_django.stores.base import Write

# How many locks one index key remembers.
INDEXED = 48

UNSEALED = "-"


class Line(NamedTuple):
    until: int
    subject: str
    rounds: int
    sealed: str

    def __str__(self) -> str:
        return " ".join(map(str, self))


def cleared(index: str | None) -> int:
    """Return when all were unlocked last; 0 for never."""
    return int((index or "0").partition("\n")[0])


def lines_of(index: str | None) -> list[Line]:
    _, *lines = (index or "0").split("\n")
    return [_line(*line.split(" ")) for line in lines]


def added(index: str | None, locks: Sequence[Line], now: int, kept_for: int) -> Write:
    """Add locks to an index, in the place of what is over; its end remembers the newest.

    An unlocking of all is remembered for ``kept_for``: the longest that a lock can matter.
    """
    fresh = {lock.subject for lock in locks}
    old = [each for each in lines_of(index) if each.subject not in fresh]
    kept = [each for each in old if each.until > now] + list(locks)
    return _written(cleared(index), kept[-INDEXED:], now, kept_for)


def sealed(
    index: str | None, subjects: Sequence[str], who: str, now: int, kept_for: int
) -> Write | None:
    """Say in the lines of these subjects whom they are about; None when none is there."""
    lines = [
        each._replace(sealed=who) if each.subject in subjects else each
        for each in lines_of(index)
        if each.until > now
    ]
    if not any(each.subject in subjects for each in lines):
        return None
    return _written(cleared(index), lines, now, kept_for)


def _written(header: int, lines: Sequence[Line], now: int, kept_for: int) -> Write:
    ends = max(line.until for line in lines)
    if header:
        ends = max(ends, header + kept_for)
    return Write("\n".join([str(header), *map(str, lines)]), ends - now)


def _line(until: str, subject: str, rounds: str, sealed: str) -> Line:
    return Line(int(until), subject, int(rounds), sealed)
