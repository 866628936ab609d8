"""The cookie by which a browser that has signed in before is known (OWASP's device cookies).

It signs nobody in. It gives the browser's owner a budget of failures of its own, for the names
that have signed in there, which nobody else's failures use up.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import signing

from crossauth_django.conf import conf
from crossauth_django.crypto import keyed_digest, new_secret

# People who share a browser; beyond that the one who was longest away is a stranger again.
_NAMES = 8


def cookie_name() -> str:
    """Return the cookie's name, with the prefix that ties it to this host where that can be."""
    prefix = "__Host-" if _is_bound_to_host() else ""
    return f"{prefix}crossauth_device"


def device_of(cookie: str | None, name: str) -> str | None:
    """Return the device that a cookie stands for when ``name`` has signed in there before.

    A forged, altered or expired cookie is no device. ``SECRET_KEY_FALLBACKS`` are honoured.
    """
    device, digests = _read(cookie)
    if not digests or not name:
        return None
    keys = (None, *settings.SECRET_KEY_FALLBACKS)
    return device if any(_digest(name, key) in digests for key in keys) else None


def cookie_for(previous: str | None, names: list[str]) -> str:
    """Return a fresh cookie for the same device, with ``names`` among those known there."""
    device, known = _read(previous)
    digests = list(dict.fromkeys(_digest(name) for name in names if name))
    digests += [digest for digest in known if digest not in digests]
    return _signer().sign(f"{device or new_secret()}:{'.'.join(digests[:_NAMES])}")


def _read(cookie: str | None) -> tuple[str | None, list[str]]:
    age = conf.CROSSAUTH_DEVICE_COOKIE_AGE
    if not cookie or not age:
        return None, []
    try:
        device, _, digests = _signer().unsign(cookie, max_age=age).partition(":")
    except signing.BadSignature:
        return None, []
    return device, digests.split(".")


def _signer() -> signing.TimestampSigner:
    # A separator that occurs in no secret and no digest.
    return signing.TimestampSigner(sep="|", salt="crossauth_django.device")


def _digest(name: str, key: Any = None) -> str:
    return keyed_digest("device.name", name, key=key)[:20]


def _is_bound_to_host() -> bool:
    return (
        settings.SESSION_COOKIE_SECURE
        and not settings.SESSION_COOKIE_DOMAIN
        and settings.SESSION_COOKIE_PATH == "/"
    )
