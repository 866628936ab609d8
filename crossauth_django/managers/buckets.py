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
# What is tried out at the end of a key.
_END_LENGTH = 3


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
    start = secrets.token_urlsafe(36)[:-_END_LENGTH]
    hashed = hashlib.sha256(start.encode())
    ends = map("".join, itertools.product(_ALPHABET, repeat=_END_LENGTH))
    # One of 256 fits, and there are 262,144.
    return start + next(end for end in ends if _is_in(wanted, hashed.copy(), end))


def _is_in(wanted: str, hashed: Any, end: str) -> bool:
    hashed.update(end.encode())
    digest: str = hashed.hexdigest()
    return digest.startswith(wanted)
