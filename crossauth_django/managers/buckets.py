"""The 256 buckets of the sessions: all of one user's copies lie in one, and are ended there at once."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import string
from typing import Any

from django.contrib.auth import get_user_model

from crossauth_django import crypto

# Hexadecimal digits.
_LENGTH = 2
_ALPHABET = f"{string.ascii_letters}{string.digits}-_"
_ENDS = ["".join(pair).encode() for pair in itertools.product(_ALPHABET, repeat=2)]


def bucket(digest: str) -> str:
    """Return the bucket, of 256, of whatever lies under a digest."""
    return digest[:_LENGTH]


def bucket_of(user_id: Any) -> str:
    """Return the bucket of a user's sessions, by the primary key, native or as text."""
    # One spelling: a database takes a UUID in several.
    pk = get_user_model()._meta.pk.to_python(user_id)
    return crypto.digest(f"session.bucket:{pk}")[:_LENGTH]


def key_in(wanted: str) -> str:
    """Return a new session key of 256 random bits whose digest lies in a bucket.

    48 characters: what the choice of the bucket tells is more than made up for.
    """
    while True:
        start = secrets.token_urlsafe(36)[:-2]
        hashed = hashlib.sha256(start.encode())
        for end in _ENDS:
            found = hashed.copy()
            found.update(end)
            if found.hexdigest().startswith(wanted):
                return start + end.decode()
