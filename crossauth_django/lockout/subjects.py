"""Which keys an attempt counts against, and what one step over them is sent."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed

from crossauth_django import securitylog
from crossauth_django.addresses import network_of
from crossauth_django.conf import GRACE_MS, conf
from crossauth_django.crypto import encrypt, keyed_digest
from crossauth_django.lockout.policy import Rules

if TYPE_CHECKING:
    from crossauth_django.lockout.devices import Device, Owner

# Everything about sign-in attempts lies beside each other on a cluster: one step spans it.
SLOT = "lockout"

# The index of locks is spread over this many keys, so that engines which lock what they touch
# do not make all sign-ins of a site wait for each other.
SHARDS = 64

RULES = {"p": "pair", "u": "user", "a": "address", "d": "device", "k": "devices"}

# Of each digest in a subject's id; the first 16 are what the log and the operators' lists show.
_DIGEST = 20
SHOWN = 16

# How much of a name an operator is shown.
_NAMED = 64


@dataclass(frozen=True)
class Subject:
    """A pair, a user, an address, a device, or a name's devices at one address.

    ``id`` is its rule's letter and the keyed digests of whom it is about, the name first.
    """

    id: str
    limit: int

    @property
    def rule(self) -> str:
        return RULES[self.id[0]]


@dataclass(frozen=True)
class Call:
    """The arguments of one step for one attempt."""

    keys: list[str]
    args: list[str | int]


def subjects_of(name: str, address: str | None, device: Device | None) -> list[Subject]:
    """Return whom an attempt on a normalised name counts against, pair first, address last.

    ``address`` is None for an attempt without a request. A known device stands for itself: not
    even its pair binds it, since neighbours behind one address could fill that. All devices of
    one name at one address share a larger budget, which only who has known the password can
    use up; where the address alone has a limit, that is theirs. An empty name locks nobody else.
    Without an address (a Unix socket) only the user counts: everybody would share one pair.
    """
    pair, user = conf.CROSSAUTH_LOCKOUT_ATTEMPTS, conf.CROSSAUTH_LOCKOUT_USER_ATTEMPTS
    all_there = conf.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS
    network = None if address is None else network_of(address)
    who = securitylog.name_digest(name, _DIGEST)
    where = "" if network is None else network_digest(network)
    if device is not None:
        browser = keyed_digest("lockout.device", device.id)[:_DIGEST]
        shared = user if pair or user else all_there
        found = [Subject(f"d{who}{browser}", pair), Subject(f"k{who}{where}", shared)]
    else:
        found = []
        if network or (network is not None and not name):
            found.append(Subject(f"p{who}{where}", pair))
        if name:
            found.append(Subject(f"u{who}", user))
        if name and network:
            found.append(Subject(f"a{where}", all_there))
    return [each for each in found if each.limit > 0]


def network_digest(network: str) -> str:
    return keyed_digest("lockout.network", network)[:_DIGEST]


def about(subject_id: str) -> tuple[str, str]:
    """Return the digests of the name and of the network that a subject is about, as shown."""
    letter, digests = subject_id[0], subject_id[1:]
    first, second = digests[:SHOWN], digests[_DIGEST:][:SHOWN]
    if letter == "a":
        return "", first
    return first, second if letter in "pk" else ""


def judging(
    mode: str,
    subjects: Sequence[Subject],
    owner: Owner | None = None,
    *,
    spelling: int = 0,
) -> Call:
    """Reserve, check or count; the last key is the index, for the lock that may start.

    A device is known only while its owner has the password that signed in there: the key before.
    """
    ids = [each.id for each in subjects]
    keys = [*map(key_of, ids)]
    if owner is not None:
        keys.append(owner_key(owner))
    keys.append(shard_key(ids[0]))
    password = "" if owner is None else owner.password
    arguments: list[str | int] = [
        mode,
        _letters(ids),
        spelling,
        password,
        *rules(),
        " ".join(ids),
    ]
    arguments += [each.limit for each in subjects]
    return Call(keys, arguments)


def settling(
    mode: str, ids: Sequence[str], starts: Sequence[int], *, spelling: int = 0
) -> Call:
    """Clear or return what was counted in the windows that began at ``starts``."""
    on_success = conf.CROSSAUTH_LOCKOUT_ON_SUCCESS
    arguments: list[str | int] = [
        mode,
        _letters(ids),
        spelling,
        on_success,
        *rules(),
        *starts,
    ]
    return Call([*map(key_of, ids)], arguments)


def sealing(
    subjects: Sequence[Subject], ids: Sequence[str], name: str, address: str
) -> Call:
    """Put beside the locks that an attempt has begun, for who has the key, whom they are about."""
    who = encrypt(json.dumps([name[:_NAMED], address], ensure_ascii=False))
    kept_for = rules().cap + rules().retention
    return Call([shard_key(subjects[0].id)], [who, kept_for, " ".join(ids)])


@functools.cache
def rules() -> Rules:
    """Return the configured lengths, in milliseconds; read once, and again when a test changes one."""
    return Rules(
        _milliseconds(conf.CROSSAUTH_LOCKOUT_WINDOW),
        _milliseconds(conf.CROSSAUTH_LOCKOUT_BASE),
        _milliseconds(conf.CROSSAUTH_LOCKOUT_MAX),
        _milliseconds(conf.CROSSAUTH_LOCKOUT_RETENTION),
        GRACE_MS,
    )


def _read_again(**kwargs: Any) -> None:
    rules.cache_clear()


setting_changed.connect(_read_again, dispatch_uid="crossauth_django.lockout.rules")


def key_of(subject_id: str) -> str:
    return f"lockout:{subject_id}"


def owner_key(owner: Owner) -> str:
    return f"lockout:password:{owner.id}"


def shard_key(subject_id: str) -> str:
    # Both ends, so that neither one name nor one address fills a shard alone.
    return index_key((int(subject_id[1:9], 16) ^ int(subject_id[-8:], 16)) % SHARDS)


def index_key(shard: int) -> str:
    return f"lockout:index:{shard}"


def _letters(ids: Sequence[str]) -> str:
    return "".join([each[0] for each in ids])


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
