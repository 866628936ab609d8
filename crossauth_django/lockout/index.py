"""The index of locks, for operators: a line with the last unlocking of all, then one for each.

A line says until when, which subject, which round, and sealed whom it is about ("-" without a
key). Like the policy's, this is the Python twin of what Redis does: ``lockout_index.lua`` and
``lockout_seal.lua`` in ``stores/scripts/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossauth_django.stores.base import Outcome, Step, Write

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


def _seal(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    """Say in the lines of some subjects whom they are about; answer whether one is there."""
    who, kept_for, subjects = args[0], int(args[1]), args[2].split()
    lines = [
        each._replace(sealed=who) if each.subject in subjects else each
        for each in lines_of(values[0])
        if each.until > now
    ]
    if not any(each.subject in subjects for each in lines):
        return Outcome([0], {})
    return Outcome([1], {0: _written(cleared(values[0]), lines, now, kept_for)})


SEAL = Step("lockout_seal", _seal, after=("lockout_index",))


def _written(header: int, lines: Sequence[Line], now: int, kept_for: int) -> Write:
    ends = max(line.until for line in lines)
    if header:
        ends = max(ends, header + kept_for)
    return Write("\n".join([str(header), *map(str, lines)]), ends - now)


def _line(until: str, subject: str, rounds: str, sealed: str) -> Line:
    return Line(int(until), subject, int(rounds), sealed)
