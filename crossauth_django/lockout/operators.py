"""What operators ask: who is locked, and to end it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from crossauth_django import securitylog
from crossauth_django.addresses import network_of, typed
from crossauth_django.conf import conf
from crossauth_django.crypto import decrypt
from crossauth_django.exceptions import EncryptionError
from crossauth_django.lockout import policy
from crossauth_django.lockout.explaining import look, seconds
from crossauth_django.lockout.index import INDEXED, UNSEALED, Line, lines_of
from crossauth_django.lockout.names import normalised
from crossauth_django.lockout.subjects import (
    RULES,
    SHARDS,
    SHOWN,
    SLOT,
    about,
    index_key,
    key_of,
    network_digest,
    rules,
    subjects_of,
)
from crossauth_django.stores import get_store

LISTED = 1_000


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


def current_locks(limit: int = LISTED) -> list[Lock]:
    """Return the locks that hold now, the most recent first, at most ``limit``.

    Reads an index of some 3,000 locks and each listed subject: for operators, not for requests.
    """
    now, _ = look([index_key(0)])
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
    address = None if address is None else typed(address)
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
    now, _ = look([index_key(0)])
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
    if not subject_ids:
        return 0
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
        remaining_seconds=seconds(line.until - now),
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
