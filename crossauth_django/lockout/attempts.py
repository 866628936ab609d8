"""Reserve, verify, settle: an attempt is counted before any password is looked at."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from crossauth_django import securitylog, signals
from crossauth_django.conf import conf
from crossauth_django.exceptions import LockedOutError, StoreUnavailableError
from crossauth_django.lockout.index import SEAL
from crossauth_django.lockout.names import normalised, spelling_of
from crossauth_django.lockout.policy import FORGOTTEN, JUDGE, SETTLE
from crossauth_django.lockout.subjects import (
    SLOT,
    Call,
    Subject,
    judging,
    owner_key,
    sealing,
    settling,
    subjects_of,
)
from crossauth_django.stores import Reply, breaker, get_store

if TYPE_CHECKING:
    from crossauth_django.lockout.devices import Device, Owner

logger = logging.getLogger("crossauth_django.lockout")


@dataclass(frozen=True)
class Attempt:
    """A counted sign-in attempt: the subjects that count it, and since when each one counts.

    ``typed`` is the name before it was normalised. ``was_forgotten`` says that its device was known
    until its owner changed the password.
    """

    name: str
    ids: tuple[str, ...]
    starts: tuple[int, ...]
    typed: str
    was_forgotten: bool = False

    @property
    def spelling(self) -> int:
        return spelling_of(self.typed, self.name)


def reserve(
    typed: str, address: str, *, device: Device | None = None, request_id: str = ""
) -> Attempt | None:
    """Count one attempt on a name as it was typed, in one step over all its subjects.

    Raise ``LockedOutError`` when one of them refuses it: then nothing was counted anywhere. None
    when no limit is set. ``StoreUnavailableError`` when the cache is down. ``device`` is the
    browser's, from its cookie; one that is known no more costs a second step, as a stranger.
    """
    name = normalised(typed)
    subjects = subjects_of(name, address, device)
    if not subjects:
        return None
    owner, spelling = device.owner if device else None, spelling_of(typed, name)
    call = judging("reserve", subjects, owner, spelling=spelling)
    reply = breaker.step(JUDGE, call.keys, call.args, SLOT)
    if reply[0] == FORGOTTEN:
        return _forgotten(reserve(typed, address, request_id=request_id))
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, address, request_id)
        refusal.announce()
        raise refusal.error
    return Attempt(name, _ids(subjects), _numbers(reply[1:]), typed)


async def areserve(
    typed: str, address: str, *, device: Device | None = None, request_id: str = ""
) -> Attempt | None:
    """Do what ``reserve`` does, without blocking the event loop."""
    name = normalised(typed)
    subjects = subjects_of(name, address, device)
    if not subjects:
        return None
    owner, spelling = device.owner if device else None, spelling_of(typed, name)
    call = judging("reserve", subjects, owner, spelling=spelling)
    reply = await breaker.astep(JUDGE, call.keys, call.args, SLOT)
    if reply[0] == FORGOTTEN:
        return _forgotten(await areserve(typed, address, request_id=request_id))
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, address, request_id)
        await refusal.aannounce()
        raise refusal.error
    return Attempt(name, _ids(subjects), _numbers(reply[1:]), typed)


def check(name: str) -> None:
    """Raise ``LockedOutError`` when no unknown device may try this name now; count nothing.

    For an attempt without a request: it has no address, and no end at which to settle. Of
    parallel ones, more may pass than are left.
    """
    subjects = subjects_of(name, None, None)
    if not subjects:
        return
    call = judging("check", subjects)
    reply = breaker.step(JUDGE, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, "", "")
        refusal.announce()
        raise refusal.error


async def acheck(name: str) -> None:
    """Do what ``check`` does, without blocking the event loop."""
    subjects = subjects_of(name, None, None)
    if not subjects:
        return
    call = judging("check", subjects)
    reply = await breaker.astep(JUDGE, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, "", "")
        await refusal.aannounce()
        raise refusal.error


def count(name: str, *, typed: str | None = None) -> None:
    """Count a failure of this name, of which no address is known."""
    subjects = subjects_of(name, None, None)
    if subjects:
        spelling = 0 if typed is None else spelling_of(typed, name)
        call = judging("count", subjects, spelling=spelling)
        breaker.step(JUDGE, call.keys, call.args, SLOT)


def password_is(owner: Owner) -> None:
    """Make strangers of the devices on which this user signed in with another password.

    Call it when a password was saved, changed or not. A cache that is down is logged: then they
    stay known, each with the budget of a device.
    """
    age = conf.CROSSAUTH_DEVICE_COOKIE_AGE.total_seconds()
    if not age:
        return
    try:
        get_store().set(owner_key(owner), owner.password, age, slot=SLOT)
    except StoreUnavailableError as error:
        logger.warning("Devices stay known after a change of password: %s", error)


def clear(attempt: Attempt) -> None:
    """Settle a sign-in: forget what counts against its pair and user, or its device.

    Where some of it was typed otherwise only this attempt is: that may be another's account.
    With ``CROSSAUTH_LOCKOUT_ON_SUCCESS = "clear_all"`` the pair's own failures are taken off the
    address, never another's; with ``"clear_user_only"`` only this attempt is.
    """
    spelling = attempt.spelling
    call = settling("clear", attempt.ids, attempt.starts, spelling=spelling)
    breaker.step(SETTLE, call.keys, call.args, SLOT)


def give_back(attempt: Attempt) -> None:
    """Settle a right password that signed nobody in: take back this attempt and no other.

    Nothing happens where the window that counted it is over or was cleared.
    """
    call = settling("return", attempt.ids, attempt.starts)
    breaker.step(SETTLE, call.keys, call.args, SLOT)


async def agive_back(attempt: Attempt) -> None:
    """Do what ``give_back`` does, without blocking the event loop."""
    call = settling("return", attempt.ids, attempt.starts)
    await breaker.astep(SETTLE, call.keys, call.args, SLOT)


class _Refusal:
    """What a refusing step decided, told to the log and to the signals' receivers."""

    def __init__(
        self,
        reply: Reply,
        subjects: Sequence[Subject],
        name: str,
        address: str,
        request_id: str,
    ) -> None:
        self.subjects, self.request_id = subjects, request_id
        self.name, self.address = name, address
        self.events: list[tuple[Signal, dict[str, Any]]] = []
        self.locked: list[Subject] = []
        for each in str(reply[4]).split():
            position, rounds, length = map(int, each.split(":"))
            self.locked.append(subjects[position - 1])
            self._happened("lockout_triggered", self.locked[-1], rounds, length)
        wait, decided, rounds = _numbers(reply[1:4])
        self._happened("lockout_refused", subjects[decided - 1], rounds, wait)
        self.error = LockedOutError(
            _seconds(wait),
            rule=subjects[decided - 1].rule,
            new_locks=tuple(each.id for each in self.locked if each.rule != "address"),
        )

    def announce(self) -> None:
        if call := self._seal():
            with _nameless_if_down():
                breaker.step(SEAL, call.keys, call.args, SLOT)
        for signal, event in self.events:
            signal.send_robust(sender=Attempt, **event)

    async def aannounce(self) -> None:
        if call := self._seal():
            with _nameless_if_down():
                await breaker.astep(SEAL, call.keys, call.args, SLOT)
        for signal, event in self.events:
            await signal.asend_robust(sender=Attempt, **event)

    def _seal(self) -> Call | None:
        # A step of its own: encrypting with each attempt would cost all what one lock needs.
        if not self.locked or not conf.CROSSAUTH_ENCRYPTION_KEYS:
            return None
        return sealing(self.subjects, _ids(self.locked), self.name, self.address)

    def _happened(self, name: str, subject: Subject, rounds: int, length: int) -> None:
        who = {"username": self.name, "address": self.address}
        event: dict[str, Any] = {
            "rule": subject.rule,
            "round": rounds,
            "retry_after": _seconds(length),
        }
        level = logging.INFO if name == "lockout_refused" else logging.WARNING
        securitylog.write(level, name, **who, request_id=self.request_id, **event)
        self.events.append((getattr(signals, name), {**event, **who}))


@contextlib.contextmanager
def _nameless_if_down() -> Iterator[None]:
    try:
        yield
    except StoreUnavailableError as error:
        logger.warning("A lock is listed without a name: %s", error)


def _forgotten(attempt: Attempt | None) -> Attempt | None:
    return None if attempt is None else replace(attempt, was_forgotten=True)


def _ids(subjects: Sequence[Subject]) -> tuple[str, ...]:
    return tuple(each.id for each in subjects)


def _numbers(items: Reply) -> tuple[int, ...]:
    return tuple(int(item) for item in items if item is not None)


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))
