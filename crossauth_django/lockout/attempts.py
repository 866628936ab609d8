"""Reserve, verify, settle: an attempt is counted before any password is looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.dispatch import Signal

from crossauth_django import securitylog, signals
from crossauth_django.exceptions import LockedOutError
from crossauth_django.lockout.policy import LOCKOUT
from crossauth_django.lockout.subjects import (
    SLOT,
    Subject,
    judging,
    settling,
    subjects_of,
)
from crossauth_django.stores import Reply, breaker


@dataclass(frozen=True)
class Attempt:
    """A counted sign-in attempt: the subjects that count it, and since when each one counts."""

    name: str
    ids: tuple[str, ...]
    starts: tuple[int, ...]


def reserve(
    name: str, address: str, *, device: str | None = None, request_id: str = ""
) -> Attempt | None:
    """Count one attempt on a normalised name, in one step over all its subjects.

    Raise ``LockedOutError`` when one of them refuses it: then nothing was counted anywhere. None
    when no limit is set. ``StoreUnavailableError`` when the cache is down. ``device`` is the
    browser's, from its cookie.
    """
    subjects = subjects_of(name, address, device)
    if not subjects:
        return None
    call = judging("reserve", subjects, name, address)
    reply = breaker.step(LOCKOUT, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, address, request_id)
        refusal.announce()
        raise refusal.error
    return Attempt(name, _ids(subjects), _numbers(reply[1:]))


async def areserve(
    name: str, address: str, *, device: str | None = None, request_id: str = ""
) -> Attempt | None:
    """Do what ``reserve`` does, without blocking the event loop."""
    subjects = subjects_of(name, address, device)
    if not subjects:
        return None
    call = judging("reserve", subjects, name, address)
    reply = await breaker.astep(LOCKOUT, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, address, request_id)
        await refusal.aannounce()
        raise refusal.error
    return Attempt(name, _ids(subjects), _numbers(reply[1:]))


def check(name: str) -> None:
    """Raise ``LockedOutError`` when no unknown device may try this name now; count nothing.

    For an attempt without a request: it has no address, and no end at which to settle. Of
    parallel ones, more may pass than are left.
    """
    subjects = subjects_of(name, None, None)
    if not subjects:
        return
    call = judging("check", subjects, name, "")
    reply = breaker.step(LOCKOUT, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, "", "")
        refusal.announce()
        raise refusal.error


async def acheck(name: str) -> None:
    """Do what ``check`` does, without blocking the event loop."""
    subjects = subjects_of(name, None, None)
    if not subjects:
        return
    call = judging("check", subjects, name, "")
    reply = await breaker.astep(LOCKOUT, call.keys, call.args, SLOT)
    if not reply[0]:
        refusal = _Refusal(reply, subjects, name, "", "")
        await refusal.aannounce()
        raise refusal.error


def count(name: str) -> None:
    """Count a failure of this name, of which no address is known."""
    subjects = subjects_of(name, None, None)
    if subjects:
        call = judging("count", subjects, name, "")
        breaker.step(LOCKOUT, call.keys, call.args, SLOT)


def clear(attempt: Attempt) -> None:
    """Settle a sign-in: forget what counts against its pair and user, or its device.

    With ``CROSSAUTH_LOCKOUT_ON_SUCCESS = "clear_all"`` the pair's own failures are taken off the
    address, never another's; with ``"clear_user_only"`` only this attempt is.
    """
    call = settling("clear", attempt.ids, attempt.starts)
    breaker.step(LOCKOUT, call.keys, call.args, SLOT)


def give_back(attempt: Attempt) -> None:
    """Settle a right password that signed nobody in: take back this attempt and no other.

    Nothing happens where the window that counted it is over or was cleared.
    """
    call = settling("return", attempt.ids, attempt.starts)
    breaker.step(LOCKOUT, call.keys, call.args, SLOT)


async def agive_back(attempt: Attempt) -> None:
    """Do what ``give_back`` does, without blocking the event loop."""
    call = settling("return", attempt.ids, attempt.starts)
    await breaker.astep(LOCKOUT, call.keys, call.args, SLOT)


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
        wait, decided, rounds = _numbers(reply[1:4])
        rule = subjects[decided - 1].rule
        who = {"username": name, "address": address}
        self.events: list[tuple[Signal, str, int, dict[str, Any]]] = []
        started = str(reply[4]).split()
        for each in started:
            position, its_rounds, length = map(int, each.split(":"))
            event: dict[str, Any] = {
                "rule": subjects[position - 1].rule,
                "round": its_rounds,
                "retry_after": _seconds(length),
            }
            self.events.append(
                (signals.lockout_triggered, "lockout_triggered", logging.WARNING, event)
            )
        refused: dict[str, Any] = {
            "rule": rule,
            "round": rounds,
            "retry_after": _seconds(wait),
        }
        self.events.append(
            (signals.lockout_refused, "lockout_refused", logging.INFO, refused)
        )
        for _, name_of_event, level, event in self.events:
            securitylog.write(
                level, name_of_event, **who, request_id=request_id, **event
            )
            event.update(who)
        self.error = LockedOutError(
            _seconds(wait),
            rule=rule,
            subjects=_ids(subjects),
            is_new=bool(started),
        )

    def announce(self) -> None:
        for signal, _, _, event in self.events:
            signal.send_robust(sender=Attempt, **event)

    async def aannounce(self) -> None:
        for signal, _, _, event in self.events:
            await signal.asend_robust(sender=Attempt, **event)


def _ids(subjects: Sequence[Subject]) -> tuple[str, ...]:
    return tuple(each.id for each in subjects)


def _numbers(items: Reply) -> tuple[int, ...]:
    return tuple(int(item) for item in items if item is not None)


def _seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))
