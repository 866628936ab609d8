"""The escalating lockout policy: what one step does to the subjects of a sign-in attempt.

The Python twins of ``lockout_judge.lua`` and ``lockout_settle.lua`` in ``stores/scripts/``; they
decide alike, which a stateful test holds them to. Times are milliseconds of the server's clock,
lengths too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crossauth_django.lockout.index import UNSEALED, Line, added, cleared
from crossauth_django.stores.base import Outcome, Reply, Step, Write

# How a name was typed, where not all that counts was typed alike.
_SEVERAL = 1

# What a step answers about a device whose owner has another password now: nothing was counted.
FORGOTTEN = 2


@dataclass
class Subject:
    """One key: what counts against a pair, a user, an address or devices.

    ``share`` is how many of a pair's attempts count in the address' window that began at
    ``share_start``: what its success takes off the address, and no more. ``spelt`` is how the name
    was typed: a success forgets only what was typed like it, since a name that is the same here
    may be somebody else's account.
    """

    count: int = 0
    start: int = 0
    full: int = 0
    rounds: int = 0
    until: int = 0
    share_start: int = 0
    share: int = 0
    spelt: int = 0


class Rules(NamedTuple):
    """The lengths of the policy, in milliseconds; the server's clock comes with each step."""

    window: int
    base: int
    cap: int
    retention: int
    grace: int

    def duration(self, rounds: int) -> int:
        """Return how long the lock of this round lasts."""
        return min(self.base << (rounds - 1), self.cap) if rounds else 0


def parse(text: str | None) -> Subject:
    """Read what a key holds; see ``_write`` for the two forms."""
    if text is None:
        return Subject()
    numbers = [int(number) for number in text.split()]
    spelt = [] if len(numbers) % 2 else [numbers.pop()]
    if len(numbers) == 1:
        start, count = divmod(numbers[0], 1000)
        numbers = [count, start, 0, 0, 0]
    if len(numbers) == 5:
        numbers += [numbers[1], numbers[0]]
    return Subject(*numbers, *spelt)


def live(subject: Subject, now: int, rules: Rules, cleared: int) -> Subject:
    """Forget in place what is over at ``now``, and what an unlocking of all at ``cleared`` ended."""
    s = subject
    if cleared > now:
        # By a clock that is ahead: until this one is there, nothing would ever be full.
        cleared = 0
    began = s.until - rules.duration(s.rounds)
    if s.rounds and (now >= s.until + rules.retention or began <= cleared):
        s.rounds = s.until = 0
    if s.count and (now - s.start >= rules.window or s.start <= cleared):
        s.count = s.start = s.full = 0
    return s


def _judge(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    """``reserve`` judges and counts, ``check`` only judges, ``count`` only counts."""
    mode, letters, spelling, password, *rest = args
    rules, ids = Rules(*map(int, rest[:5])), rest[5].split()
    limits = [int(limit) for limit in rest[6:]]
    *stored, index = values
    # The password that has signed in on the device, and behind the subjects what it is now.
    if password and stored[-1] not in (None, password):
        return Outcome([FORGOTTEN], {})
    subjects = [live(parse(stored[i]), now, rules, 0) for i in range(len(letters))]
    if _refuses(subjects, limits, now):
        moment = cleared(index)
        subjects = [live(s, now, rules, moment) for s in subjects]
    if _refuses(subjects, limits, now):
        if mode == "count":
            return Outcome([0], {})
        reply, writes, locks = _refuse(subjects, now, rules, limits, ids)
        if locks:
            kept_for = rules.cap + rules.retention
            writes[len(stored)] = added(index, locks, now, kept_for)
        return Outcome(reply, writes)
    if mode == "check":
        return Outcome([1], {})
    for s, limit, letter in zip(subjects, limits, letters, strict=True):
        if letter != "a":
            is_first = not (s.count or s.rounds)
            is_alike = is_first or s.spelt == int(spelling)
            s.spelt = int(spelling) if is_alike else _SEVERAL
        s.start = s.start or now
        s.count += 1
        s.full = now if s.count == limit else s.full
    if letters[0] == "p":
        _take_share(subjects[0], subjects[-1].start if letters[-1] == "a" else 0)
    return Outcome(
        [1, *(s.start for s in subjects)],
        {
            i: _write(s, now, rules, letter)
            for i, (s, letter) in enumerate(zip(subjects, letters, strict=True))
        },
    )


JUDGE = Step("lockout_judge", _judge, after=("lockout_subject", "lockout_index"))


def _refuses(subjects: list[Subject], limits: list[int], now: int) -> bool:
    return any(
        s.until > now or s.count >= limit
        for s, limit in zip(subjects, limits, strict=True)
    )


def _refuse(
    subjects: list[Subject],
    now: int,
    rules: Rules,
    limits: list[int],
    ids: Sequence[str],
) -> tuple[Reply, dict[int, Write], list[Line]]:
    """Answer ``[0, wait, deciding subject from 1, its round, "position:round:length ..."]``."""
    writes: dict[int, Write] = {}
    locks: list[Line] = []
    started: list[str] = []
    # Who asks while anything is locked learns how long, and changes nothing.
    asks = any(s.until > now for s in subjects)
    wait = decided = 0
    for i, (s, limit) in enumerate(zip(subjects, limits, strict=True)):
        left = s.until - now
        if left <= 0 and s.count >= limit:
            left = 1000
            if not asks and now - s.full >= rules.grace:
                s.rounds += 1
                left = rules.duration(s.rounds)
                s.until, s.count, s.start, s.full = now + left, 0, 0, 0
                writes[i] = _write(s, now, rules, ids[i][0])
                locks.append(Line(s.until, ids[i], s.rounds, UNSEALED))
                started.append(f"{i + 1}:{s.rounds}:{left}")
        if left > wait:
            wait, decided = left, i
    rounds = subjects[decided].rounds
    return [0, wait, decided + 1, rounds, " ".join(started)], writes, locks


def _take_share(pair: Subject, window: int) -> None:
    pair.share = pair.share + 1 if window <= pair.share_start else 1
    pair.share_start = window


def _settle(values: Sequence[str | None], now: int, args: Sequence[str]) -> Outcome:
    """``return`` takes this attempt back where its window is still counted, ``clear`` forgets."""
    mode, letters, spelling, on_success, *rest = args
    rules, starts = Rules(*map(int, rest[:5])), [int(start) for start in rest[5:]]
    subjects = [live(parse(value), now, rules, 0) for value in values]
    writes: dict[int, Write] = {}
    has_pair, shared = letters[0] == "p", on_success == "clear_all"
    pair, address = subjects[0], subjects[-1] if letters[-1] == "a" else Subject()
    valid = address.count > 0 and address.start <= pair.share_start
    own = pair.share if has_pair and valid else 0
    # Whatever cleared the pair since then has taken its attempts off the address too.
    returned = pair.count > 0 and pair.start == starts[0]
    alike = pair.spelt == int(spelling)
    for i, (s, letter) in enumerate(zip(subjects, letters, strict=True)):
        matches = s.count > 0 and s.start == starts[i]
        if letter == "a":
            if mode == "clear" and shared and has_pair and alike:
                less = min(own, s.count)
            else:
                less = int(matches and (returned or not (shared and has_pair)))
        elif mode == "clear" and s.spelt == int(spelling):
            if values[i] is not None:
                writes[i] = Write(None)
            continue
        else:
            less = int(matches)
        if less:
            s.count, s.full = s.count - less, 0
            s.start = s.start if s.count else 0
            if letter == "p":
                _return_share(s, address, own, starts[-1])
            writes[i] = _write(s, now, rules, letter)
    return Outcome([len(writes)], writes)


SETTLE = Step("lockout_settle", _settle, after=("lockout_subject",))


def _return_share(pair: Subject, address: Subject, own: int, start: int) -> None:
    if not own:
        # The address counts nothing of it any more; say so in the short form.
        pair.share, pair.share_start = pair.count, pair.start
    elif address.start == start:
        pair.share -= 1


def _write(s: Subject, now: int, rules: Rules, letter: str) -> Write:
    """Keep a subject as short as it can be said, for as long as any part of it matters.

    A count alone is one integer, which costs Redis no more than the key. ``share`` is left out
    while it says what count and start say, and ``spelt`` while it is 0; where it is not, the
    number of numbers is even.
    """
    is_pair = letter == "p"
    ends = s.start + rules.window if s.count else 0
    if s.rounds:
        ends = max(ends, s.until + rules.retention)
    plain = not is_pair or (s.share == s.count and s.share_start <= s.start)
    if not plain and s.share:
        ends = max(ends, s.share_start + rules.window)
    if ends <= now:
        return Write(None)
    if plain and not (s.full or s.rounds) and s.count < 1000:
        text = str(s.start * 1000 + s.count)
    else:
        text = f"{s.count} {s.start} {s.full} {s.rounds} {s.until}"
        if not plain:
            text += f" {s.share_start} {s.share}"
    if s.spelt:
        text += f" {s.spelt}"
    return Write(text, ends - now)
