"""Keyset cursors of a list of sessions, each bound to its order."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from django.db.models import Q

from crossauth_django.exceptions import InvalidCursorError

if TYPE_CHECKING:
    from crossauth_django.protocols import SessionRecord

ORDERS = {
    f"{field}_{direction}": (field, direction == "desc")
    for field in ("updated_at", "created_at", "expires_at")
    for direction in ("asc", "desc")
}
_ID = re.compile(r"[0-9a-f]{32}")
# Ours are shorter; a long one is not worth a look.
_CURSOR_LENGTH = 512


def beyond_cursor(cursor: str, order_by: str) -> Q:
    """Select what follows a page; raise ``InvalidCursorError`` for a cursor of another order."""
    field, is_descending = ORDERS[order_by]
    value, pk = _read_cursor(cursor, order_by)
    side = "lt" if is_descending else "gt"
    return Q(**{f"{field}__{side}": value}) | Q(**{field: value, f"pk__{side}": pk})


def cursor_of(order_by: str, record: SessionRecord) -> str:
    """Return the cursor of a page that ends with this record."""
    value: datetime = getattr(record, ORDERS[order_by][0])
    payload = [order_by, value.astimezone(timezone.utc).isoformat(), record.id]
    raw = json.dumps(payload, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode()


def _read_cursor(cursor: str, order_by: str) -> tuple[datetime, str]:
    try:
        if len(cursor) > _CURSOR_LENGTH:
            raise ValueError("too long")
        raw = base64.urlsafe_b64decode(cursor.encode("ascii"))
        # Python's decoder leaves out what is not of its alphabet, and what follows the padding.
        if base64.urlsafe_b64encode(raw).decode() != cursor:
            raise ValueError("not as it was encoded")
        payload = json.loads(raw)
        order, value, pk = payload
        if order != order_by or not _ID.fullmatch(pk):
            raise ValueError("of another order, or no id")
        moment = datetime.fromisoformat(value).astimezone(timezone.utc)
        # Years that every database and every time zone can hold.
        if not 1900 < moment.year < 9900:
            raise ValueError("out of range")
    except (
        *(ValueError, TypeError, AttributeError, OverflowError),
        *(RecursionError, binascii.Error),
    ) as error:
        raise _invalid_cursor() from error
    return moment, pk


def _invalid_cursor() -> Exception:
    """Return ours, which is also cross-auth's where that is loaded."""
    exceptions = sys.modules.get("cross_auth.exceptions")
    theirs = getattr(exceptions, "InvalidCursorError", None)
    kind = InvalidCursorError if theirs is None else _combined(theirs)
    return kind("The cursor is not one of this order.")


@functools.cache
def _combined(theirs: type[Exception]) -> type[Exception]:
    return type("InvalidCursorError", (InvalidCursorError, theirs), {})
