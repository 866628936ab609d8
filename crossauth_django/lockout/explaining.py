"""What counts against somebody, and for how long an attempt would be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossauth_django.addresses import typed
from crossauth_django.lockout import policy
from crossauth_django.lockout.devices import Device
from crossauth_django.lockout.index import cleared
from crossauth_django.lockout.names import normalised
from crossauth_django.lockout.subjects import (
    SLOT,
    Subject,
    key_of,
    rules,
    shard_key,
    subjects_of,
)
from crossauth_django.stores import Outcome, Step, get_store

_LOOK = Step("lockout_look", lambda values, now, arguments: Outcome([now, *values], {}))


@dataclass(frozen=True)
class Standing:
    """What counts against one subject: failures of so many, since when, and its lock."""

    rule: str
    count: int
    limit: int
    window_seconds_left: int
    round: int
    locked_seconds_left: int

    def __str__(self) -> str:
        text = f"{self.rule}: {self.count} of {self.limit}"
        if self.count:
            text += f", counted for {self.window_seconds_left} s more"
        if self.locked_seconds_left:
            text += f", locked for {self.locked_seconds_left} s more"
        if self.round:
            text += f", round {self.round}"
        return text


@dataclass(frozen=True)
class Explanation:
    """Whether an attempt would be let in now, for how long not, and because of which rule."""

    is_allowed: bool
    retry_after: int
    rule: str | None
    standings: tuple[Standing, ...]

    def __str__(self) -> str:
        verdict = (
            "allowed"
            if self.is_allowed
            else f"refused for {self.retry_after} s by the {self.rule} rule"
        )
        return "\n".join([verdict, *map(str, self.standings)])


def explain(username: str, address: str, *, device: str | None = None) -> Explanation:
    """Say what counts against a sign-in of ``username`` from ``address``, and change nothing.

    Raise ``ValueError`` for text that is no address. ``""`` is a Unix socket's.
    """
    browser = None if device is None else Device(device)
    subjects = subjects_of(normalised(username), typed(address), browser)
    if not subjects:
        return Explanation(is_allowed=True, retry_after=0, rule=None, standings=())
    now, values = look(
        [*(key_of(each.id) for each in subjects), shard_key(subjects[0].id)]
    )
    *values, index = values
    lengths, moment = rules(), cleared(index)
    states = [
        policy.live(policy.parse(value), now, lengths, moment) for value in values
    ]
    # While anything is locked, nothing else begins to be.
    may_start = not any(state.until > now for state in states)
    waits = [
        _wait(state, subject.limit, now, lengths, may_start=may_start)
        for subject, state in zip(subjects, states, strict=True)
    ]
    wait = max(waits)
    return Explanation(
        is_allowed=not wait,
        retry_after=seconds(wait),
        rule=subjects[waits.index(wait)].rule if wait else None,
        standings=tuple(
            _standing(subject, state, now, lengths)
            for subject, state in zip(subjects, states, strict=True)
        ),
    )


def look(keys: Sequence[str]) -> tuple[int, list[str | None]]:
    """Return the store's clock in milliseconds, and what the keys hold, in one step."""
    now, *values = get_store().step(_LOOK, keys, slot=SLOT)
    return int(now or 0), [None if value is None else str(value) for value in values]


def seconds(milliseconds: int) -> int:
    return max(0, -(-milliseconds // 1000))


def _wait(
    state: policy.Subject,
    limit: int,
    now: int,
    lengths: policy.Rules,
    *,
    may_start: bool,
) -> int:
    """Return for how long an attempt made now would be refused, with the lock that it starts."""
    if state.until > now:
        return state.until - now
    if state.count < limit:
        return 0
    if may_start and now - state.full >= lengths.grace:
        return lengths.duration(state.rounds + 1)
    return 1000


def _standing(
    subject: Subject, state: policy.Subject, now: int, lengths: policy.Rules
) -> Standing:
    left = state.start + lengths.window - now if state.count else 0
    return Standing(
        rule=subject.rule,
        count=state.count,
        limit=subject.limit,
        window_seconds_left=seconds(left),
        round=state.rounds,
        locked_seconds_left=seconds(state.until - now),
    )
