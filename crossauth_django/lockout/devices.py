"""The cookie by which a browser that has signed in before is known (OWASP's device cookies).

It signs nobody in. It gives the browser's owner a budget of failures of its own, for the names
that have signed in there, which nobody else's failures use up. A name is known for as long as
its own sign-in is young enough and its owner has the password that signed in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import signing

from crossauth_django.conf import conf
from crossauth_django.crypto import digest, keyed_digest, new_secret
from crossauth_django.managers.credentials import password_fingerprint

# People who share a browser; beyond that the one who was longest away is a stranger again.
_NAMES = 8

# How often a name's time is renewed within the cookie's age: once a day of a year. A cookie that is
# set again with each sign-in says no more.
_RENEWALS = 365

# What an entry of the cookie consists of, in characters: name, owner, password, time.
_NAME, _HALF, _TIME = 20, 16, 8

# No account has a longer name.
_LOOKED_AT = 1_000


class Owner(NamedTuple):
    """Whose name it is, and with which password: digests of the primary key and of the hash.

    Not keyed, so that a new ``SECRET_KEY`` makes nobody a stranger.
    """

    id: str
    password: str


@dataclass(frozen=True)
class Device:
    """A browser that is known for one name; without an owner, whatever has become of the password."""

    id: str
    owner: Owner | None = None


class _Entry(NamedTuple):
    name: str
    owner: Owner
    signed_in_at: int

    def __str__(self) -> str:
        return f"{self.name}{''.join(self.owner)}{self.signed_in_at:0{_TIME}x}"


def cookie_name() -> str:
    """Return the cookie's name, with the prefix that ties it to this host where that can be."""
    prefix = "__Host-" if _is_bound_to_host() else ""
    return f"{prefix}crossauth_device"


def owner_of(user: AbstractBaseUser) -> Owner:
    password = password_fingerprint(user)[:_HALF]
    return Owner(digest(f"device.owner:{user.pk}")[:_HALF], password)


def device_of(cookie: str | None, name: str) -> Device | None:
    """Return the device that a cookie stands for when ``name`` has signed in there before.

    As it is typed: ``Alice`` may be another's account than ``alice``, whom she would guess there.
    A forged or altered cookie is no device, and a name is forgotten with its age.
    ``SECRET_KEY_FALLBACKS`` are honoured.
    """
    device, entries = _read(cookie)
    if not entries or not name:
        return None
    keys = (None, *settings.SECRET_KEY_FALLBACKS)
    digests = {_digest(name, key) for key in keys}
    owner = next((each.owner for each in entries if each.name in digests), None)
    return Device(device, owner) if owner else None


def cookie_for(
    previous: str | None, names: Mapping[str, Owner], *, changed: Owner | None = None
) -> str | None:
    """Return a cookie for the same device, with ``names`` among those known there.

    Nobody else's time is renewed. ``changed`` is who has another password from now on, and stays
    known under the names that were. None when the previous one says the same and is young.
    """
    device, before = _read(previous)
    known = [_followed(each, changed) for each in before]
    now = int(time.time())
    young = conf.CROSSAUTH_DEVICE_COOKIE_AGE.total_seconds() / _RENEWALS
    fresh = [_Entry(_digest(name), names[name], now) for name in names if name]
    said = {(each.name, each.owner): each.signed_in_at for each in known}
    ages = (now - said.get((each.name, each.owner), 0) for each in fresh)
    if known and known == before and all(age < young for age in ages):
        return None
    renewed = {each.name for each in fresh}
    entries = [*fresh, *(each for each in known if each.name not in renewed)]
    if not entries:
        # Who has signed in has a name that nothing is left of.
        return None
    text = ".".join(map(str, entries[:_NAMES]))
    return _signer().sign(f"{device or new_secret()}:{text}")


def _followed(entry: _Entry, changed: Owner | None) -> _Entry:
    if changed is None or entry.owner.id != changed.id:
        return entry
    return entry._replace(owner=changed)


def _read(cookie: str | None) -> tuple[str, list[_Entry]]:
    age = conf.CROSSAUTH_DEVICE_COOKIE_AGE
    if not cookie or not age:
        return "", []
    try:
        device, _, text = _signer().unsign(cookie).partition(":")
    except signing.BadSignature:
        return "", []
    oldest = time.time() - age.total_seconds()
    entries = [_parsed(each) for each in text.split(".")]
    return device, [each for each in entries if each.signed_in_at > oldest]


def _parsed(text: str) -> _Entry:
    name, owner, moment = text[:_NAME], text[_NAME:-_TIME], text[-_TIME:]
    return _Entry(name, Owner(owner[:_HALF], owner[_HALF:]), int(moment, 16))


def _signer() -> signing.Signer:
    # A separator that occurs in no secret and no digest.
    return signing.Signer(sep="|", salt="crossauth_django.device")


def _digest(name: str, key: Any = None) -> str:
    return keyed_digest("device.name", name[:_LOOKED_AT], key=key)[:_NAME]


def _is_bound_to_host() -> bool:
    return (
        settings.SESSION_COOKIE_SECURE
        and not settings.SESSION_COOKIE_DOMAIN
        and settings.SESSION_COOKIE_PATH == "/"
    )
