"""Which keys an attempt counts against, and what one step over them is sent."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.signals import setting_changed

from crossauth_django import securitylog
from crossauth_django.addresses import network_of
from crossauth_django.conf import conf
from crossauth_django.crypto import encrypt, keyed_digest
from crossauth_django.lockout.policy import GRACE_MS, Rules

# Everything about sign-in attempts lies beside each other on a cluster: one step spans it.
SLOT = "lockout"

# The index of locks is spread over this many keys, so that engines which lock what they touch
# do not make all sign-ins of a site wait for each other.
SHARDS = 64

RULES = {"p": "pair", "u": "user", "a": "address", "d": "device"}


@dataclass(frozen=True)
class Subject:
    """A pair, a user, an address or a device: ``id`` is its rule's letter and a keyed digest."""

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


def subjects_of(name: str, address: str | None, device: str | None) -> list[Subject]:
    """Return whom an attempt on a normalised name counts against, pair first, address last.

    ``address`` is None for an attempt without a request. A known device stands for itself
    alone: not even its pair binds it, since neighbours behind one address could fill that. An
    empty name locks nobody else. Without an address (a Unix socket) there is none to lock.
    """
    pair = conf.CROSSAUTH_LOCKOUT_ATTEMPTS
    if device is not None:
        found = [subject("d", pair, device, name)]
    else:
        found = []
        network = None if address is None else network_of(address)
        if network is not None:
            found.append(subject("p", pair, network, name))
        if name:
            found.append(subject("u", conf.CROSSAUTH_LOCKOUT_USER_ATTEMPTS, name))
        if name and network:
            found.append(subject("a", conf.CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS, network))
    return [each for each in found if each.limit > 0]


def subject(letter: str, limit: int, *parts: str) -> Subject:
    """Make one subject; its parts are told apart, so that no two ever share a key."""
    digest = keyed_digest(f"lockout.{RULES[letter]}", json.dumps(parts))
    return Subject(letter + digest[:40], limit)


def judging(mode: str, subjects: Sequence[Subject], name: str, address: str) -> Call:
    """Reserve, check or count; the last key is the index, for the lock that may start."""
    who = _who(name, address) if mode != "count" else "-"
    numbers = [each.limit for each in subjects]
    keys = [*map(key_of, (each.id for each in subjects)), shard_key(subjects[0].id)]
    return Call(keys, _arguments(mode, who, numbers, [each.id for each in subjects]))


def settling(mode: str, ids: Sequence[str], starts: Sequence[int]) -> Call:
    """Clear or return what was counted in the windows that began at ``starts``."""
    on_success = conf.CROSSAUTH_LOCKOUT_ON_SUCCESS
    return Call([*map(key_of, ids)], _arguments(mode, on_success, starts, ids))


@functools.cache
def rules() -> Rules:
    """Return the configured lengths, in milliseconds; read once, and again when a test changes one."""
    return Rules(
        _milliseconds(conf.CROSSAUTH_LOCKOUT_WINDOW),
        GRACE_MS,
        _milliseconds(conf.CROSSAUTH_LOCKOUT_BASE),
        _milliseconds(conf.CROSSAUTH_LOCKOUT_MAX),
        _milliseconds(conf.CROSSAUTH_LOCKOUT_RETENTION),
    )


def _read_again(**kwargs: Any) -> None:
    rules.cache_clear()


setting_changed.connect(_read_again, dispatch_uid="crossauth_django.lockout.rules")


def key_of(subject_id: str) -> str:
    return f"lockout:{subject_id}"


def shard_key(subject_id: str) -> str:
    return index_key(int(subject_id[1:9], 16) % SHARDS)


def index_key(shard: int) -> str:
    return f"lockout:index:{shard}"


def _arguments(
    mode: str, who: str, numbers: Sequence[int], ids: Sequence[str]
) -> list[str | int]:
    lengths = rules()
    arguments: list[str | int] = [mode, lengths.window, lengths.grace, lengths.base]
    arguments += [lengths.cap, lengths.retention, who]
    for number, each in zip(numbers, ids, strict=True):
        arguments += [number, each]
    return arguments


def _who(name: str, address: str) -> str:
    """Say whom the index is about: digests for everybody, the rest for who has the key."""
    digests = f"{securitylog.name_digest(name)}.{address_digest(address)}"
    if not conf.CROSSAUTH_ENCRYPTION_KEYS:
        return digests
    return f"{digests}.{encrypt(json.dumps([name[:150], address]))}"


def address_digest(address: str) -> str:
    """Return what stands for an address' network in the index."""
    return keyed_digest("lockout.network", network_of(address))[:16]


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
