"""What operators ask: who is locked, what counts against somebody, and to end it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from crossauth_django import securitylog
from crossauth_django.addresses import canonical, network_of
from crossauth_django.conf import conf
from crossauth_django.crypto import decrypt
from crossauth_django.exceptions import EncryptionError
from crossauth_django.lockout import policy
from crossauth_django.lockout.devices import Device
from crossauth_django.lockout.index import INDEXED, UNSEALED, Line, cleared, lines_of
from crossauth_django.lockout.names import normalised
from crossauth_django.lockout.subjects import (
    RULES,
    SHARDS,
    SHOWN,
    SLOT,
    Subject,
    about,
    index_key,
    key_of,
    network_digest,
    rules,
    shard_key,
    subjects_of,
)
from crossauth_django.stores import Outcome, Step, get_store

LISTED = 1_000

_LOOK = Step("lockout_look", lambda values, now, arguments: Outcome([now, *values], {}))


@dataclass(frozen=True)
class Lock:
    """One lock that holds. Who is known by digest, and by name where an encryption key opens it.

    ``username`` and ``address`` are None where the rule is about the other, or no key opens them;
    ``unlock_listed`` takes the digests. A name's is the one in the security log, which writes of
    an address only the neighbourhood.
    """

    rule: str
    username: str | None
    address: str | None
    username_digest: str
    address_digest: str
    round: int
    remaining_seconds: int
    until: datetime
    subject: str


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
    subjects = subjects_of(normalised(username), _canonical(address), browser)
    if not subjects:
        return Explanation(is_allowed=True, retry_after=0, rule=None, standings=())
    now, values = _look(
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
        retry_after=_seconds(wait),
        rule=subjects[waits.index(wait)].rule if wait else None,
        standings=tuple(
            _standing(subject, state, now, lengths)
            for subject, state in zip(subjects, states, strict=True)
        ),
    )


def current_locks(limit: int = LISTED) -> list[Lock]:
    """Return the locks that hold now, the most recent first, at most ``limit``.

    Reads an index of some 3,000 locks and each listed subject: for operators, not for requests.
    """
    now, _ = _look([index_key(0)])
    lengths, found = rules(), []
    for shard in range(SHARDS):
        found += lines_of(get_store().get(index_key(shard), slot=SLOT))
    found = [line for line in found if line.until > now]
    found.sort(
        key=lambda line: line.until - lengths.duration(line.rounds), reverse=True
    )
    locks: dict[str, Lock] = {}
    for line in found:
        if len(locks) < limit and line.subject not in locks and _holds(line, now):
            locks[line.subject] = _lock(line, now)
    return list(locks.values())


def unlock(*, username: str | None = None, address: str | None = None) -> int:
    """End every lock that keeps ``username``, or ``address``, or the one from the other, out.

    Forgets what counts against the user, the address and their pair, and those pairs and devices
    of what is given that are listed as locked; a device of the name is at any address. Return how
    many were forgotten. Raise ``ValueError`` for text that is no address.
    """
    if username is None and address is None:
        return 0
    address = None if address is None else _canonical(address)
    name = None if username is None else normalised(username)
    wanted = _ids_of(name, address)
    for lock in current_locks(limit=SHARDS * INDEXED):
        if _is_about(lock, name, address):
            wanted.add(lock.subject)
    return forget(sorted(wanted), username=name, address=address)


def unlock_listed(*digests: str) -> int:
    """End the listed locks that are about all of these digests; return how many were forgotten."""
    found = [
        lock.subject
        for lock in current_locks(limit=SHARDS * INDEXED)
        if digests and {*digests} <= {lock.username_digest, lock.address_digest} - {""}
    ]
    return forget(found)


def unlock_all() -> None:
    """End every lock there is, and forget the rounds.

    Budgets that are full are empty again; what else is counted goes with its window.
    """
    now, _ = _look([index_key(0)])
    lengths = rules()
    seconds = (lengths.cap + lengths.retention + lengths.window) / 1000
    for shard in range(SHARDS):
        get_store().set(index_key(shard), str(now), seconds, slot=SLOT)
    securitylog.write(logging.WARNING, "lockout_cleared", rule="all")


def forget(
    subject_ids: Sequence[str],
    *,
    username: str | None = None,
    address: str | None = None,
) -> int:
    """Forget subjects by their ids; return how many had something counted or locked.

    The log says for whom: a normalised name, an address, or both.
    """
    count = 0
    for each in subject_ids:
        count += get_store().delete(key_of(each), slot=SLOT)
    rules = ",".join(sorted({RULES[each[0]] for each in subject_ids}))
    securitylog.write(
        logging.WARNING,
        "lockout_cleared",
        rule=rules,
        count=count,
        username=username,
        address=address,
    )
    return count


def _canonical(address: str) -> str:
    """Return what attempts from there are counted by, also of the /64 that stands for IPv6."""
    text = address.strip()
    found = canonical(text.removesuffix("/64") if ":" in text else text)
    if text and not found:
        raise ValueError(
            f"{text[:100]!a} is no IP address and no /64 of IPv6: no attempt comes from there."
        )
    return found


def _lock(line: Line, now: int) -> Lock:
    letter = line.subject[0]
    name, address = _opened(line.sealed)
    name_digest, address_digest = about(line.subject)
    return Lock(
        rule=RULES[letter],
        username=name if letter != "a" else None,
        address=address if letter in "pak" else None,
        username_digest=name_digest,
        address_digest=address_digest,
        round=line.rounds,
        remaining_seconds=_seconds(line.until - now),
        until=datetime.fromtimestamp(line.until / 1000, tz=timezone.utc),
        subject=line.subject,
    )


def _opened(sealed: str) -> tuple[str | None, str | None]:
    if sealed == UNSEALED or not conf.CROSSAUTH_ENCRYPTION_KEYS:
        return None, None
    try:
        name, address = json.loads(decrypt(sealed))
    except EncryptionError:
        # Written with a key that has been retired since.
        return None, None
    return name, address


def _holds(line: Line, now: int) -> bool:
    state = policy.parse(get_store().get(key_of(line.subject), slot=SLOT))
    return state.until > now


def _is_about(lock: Lock, name: str | None, address: str | None) -> bool:
    if name is not None and lock.username_digest != securitylog.name_digest(name):
        return False
    # A known device is itself wherever it is: its lock says no address.
    if address is None or (name is not None and lock.rule == "device"):
        return True
    return lock.address_digest == network_digest(network_of(address))[:SHOWN]


def _ids_of(name: str | None, address: str | None) -> set[str]:
    # No name is not the empty one, which has a pair of its own.
    found = subjects_of("-" if name is None else name, address, None)
    return {each.id for each in found if name is not None or each.rule == "address"}


def _look(keys: Sequence[str]) -> tuple[int, list[str | None]]:
    now, *values = get_store().step(_LOOK, keys, slot=SLOT)
    return int(now or 0), [None if value is None else str(value) for value in values]


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
        window_seconds_left=_seconds(left),
        round=state.rounds,
        locked_seconds_left=_seconds(state.until - now),
    )


def _seconds(milliseconds: int) -> int:
    return max(0, -(-milliseconds // 1000))
