"""What stands in the cache for one session, as text that is signed."""

from __future__ import annotations

import base64
from typing import NamedTuple

from django.conf import settings
from django.utils.crypto import constant_time_compare

from crossauth_django import crypto

# The first letter of what stands in the cache.
ROW, VISITOR, LEASE, MOVED = "s", "v", "l", "m"
# Characters of what follows it: a number of its own, and the stamp of the bucket.
NONCE, STAMP = 12, 8


class Mark(NamedTuple):
    """How something begins that its writer saw, and the stamp that the bucket had by then."""

    text: str
    stamp: str


# Nothing begins so, and nothing is believed of it.
NO_MARK = Mark("-", "")


class Copy(NamedTuple):
    """What stands in the cache for one session; times in seconds since 1970."""

    kind: str
    nonce: str
    # When the row was last asked, and the last activity written.
    seen: float
    created: float
    # No activity extends a session beyond this.
    ends: float
    # When it is over without further activity, as the row says.
    expires: float
    # The row's ``changed_at`` in microseconds: tells whether the row has changed since.
    version: int
    text: str
    # That of the bucket before the row was read; a visitor's copy needs none.
    stamp: str = ""

    def dump(self, digest: str) -> str:
        """Return what is stored, signed: who writes to the cache cannot make sessions up.

        Small, because there are many: hexadecimal milliseconds, the later moments as distances.
        """
        moments = self.created, self.seen, self.ends, self.expires
        first, *later = (round(1000 * moment) for moment in moments)
        distances = [*(each - first for each in later), self.version - 1000 * first]
        numbers = "|".join(f"{number:x}" for number in (first, *distances))
        body = f"{numbers}|{self.text}"
        head = f"{self.kind}{self.stamp}"
        signature = _signature(head, digest, body, settings.SECRET_KEY)
        return f"{self.kind}{self.nonce}{self.stamp}|{signature}|{body}"

    @property
    def mark(self) -> Mark:
        """How this copy begins, and no other."""
        return Mark(f"{self.kind}{self.nonce}", self.stamp if self.nonce else "")

    @classmethod
    def parse(cls, digest: str, value: str) -> Copy | None:
        """Read what is stored; None for a mark without a copy, and for what others have made."""
        head, _bar, body = value.partition("|")
        kind, nonce, stamp = head[:1], head[1 : 1 + NONCE], head[1 + NONCE :]
        signature, _bar, body = body.partition("|")
        if kind not in (ROW, VISITOR):
            return None
        if not _is_ours(signature, f"{kind}{stamp}", digest, body):
            return None
        *numbers, text = body.split("|", 5)
        first, seen, ends, expires, version = (int(number, 16) for number in numbers)
        return cls(
            kind,
            nonce,
            seen=(first + seen) / 1000,
            created=first / 1000,
            ends=(first + ends) / 1000,
            expires=(first + expires) / 1000,
            version=1000 * first + version,
            text=text,
            stamp=stamp,
        )


def _is_ours(signature: str, head: str, digest: str, body: str) -> bool:
    """Say whether this site has signed it, also before ``SECRET_KEY`` was rotated.

    A visitor has no row from which the copy could be made anew.
    """
    return any(
        constant_time_compare(signature, _signature(head, digest, body, key))
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )


def _signature(head: str, digest: str, body: str, key: str | bytes) -> str:
    # 128 bits of it.
    found = crypto.keyed_digest("session", f"{head}|{digest}|{body}", key=key)[:32]
    return base64.b64encode(bytes.fromhex(found)).decode("ascii").rstrip("=")
