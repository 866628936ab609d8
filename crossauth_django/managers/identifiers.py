"""Turns ids and text from outside into values that every database can compare."""

from __future__ import annotations

import math
import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


def to_pk(model: type[models.Model], value: object) -> Any:
    """Return the primary key that ``value`` names, native or as text; None when it names none.

    None also for what a database would refuse or misread: an empty text, NUL, bytes, a number
    out of the column's range, True.
    """
    if not isinstance(value, (int, str, uuid.UUID)) or isinstance(value, bool):
        return None
    if isinstance(value, str) and not is_storable(value):
        return None
    field: Any = model._meta.pk
    try:
        pk = field.to_python(value)
    except (ValidationError, OverflowError):
        return None
    if isinstance(pk, int):
        # No database has wider columns; SQLite's driver raises on a wider number.
        is_fitting = str(pk) == str(value) and -(2**63) <= pk < 2**63
        return pk if is_fitting else None
    return pk


def is_storable(text: object) -> bool:
    """Say whether ``text`` is a non-empty text that every database takes."""
    if not isinstance(text, str) or not text or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate.
        return False
    return True


def storable(value: Any) -> Any:
    """Return ``value`` without what PostgreSQL's ``jsonb`` refuses: NUL, lone surrogates, NaN.

    A provider passes on what people type into their profile.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "")
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
