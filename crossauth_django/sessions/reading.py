"""Reading a session: its copy, its row, or what the engine before it knows."""

from __future__ import annotations

import functools
import time
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.db import transaction

from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.copy_format import MOVED, Copy
from crossauth_django.managers.moments import from_seconds
from crossauth_django.managers.transactions import after_commit, in_real_transaction
from crossauth_django.models import UserSession
from crossauth_django.sessions.current import current_client
from crossauth_django.sessions.lifetimes import (
    copy_of,
    expiry_of,
    is_over,
    touch_interval,
)
from crossauth_django.sessions.previous import forget_previous, previous_data
from crossauth_django.sessions.state import database
from crossauth_django.sessions.writing import SessionWriter


class SessionReader(SessionWriter):
    """A step each."""

    def _look_up(self, digest: str) -> dict[str, Any] | None:
        is_known, data = self._look(digest)
        if is_known or conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
            return data
        return self._move_in(digest)

    def _look(self, digest: str) -> tuple[bool, dict[str, Any] | None]:
        """Say whether there is a copy or a row, and return the data unless it is over."""
        try:
            value = get_copies().read(digest, UserSession.objects.changed_lately)
        except StoreUnavailableError:
            value, self._is_unknown = None, True
        else:
            self._is_unknown = False
        self._is_moved = value == MOVED
        if self._is_moved:
            return True, None
        copy = None if value is None else Copy.parse(digest, value)
        if copy is not None:
            return True, self._accept(digest, copy, self._open(copy.text))
        row = UserSession.objects.of(digest)
        if row is None:
            return False, None
        can_refill, self._is_unknown = not self._is_unknown, False
        data = self._accept_row(digest, row)
        if data is not None and can_refill:
            self._refill(digest, data)
        return True, data

    def _accept_row(self, digest: str, row: UserSession) -> dict[str, Any] | None:
        if row.revoked_at is not None:
            return None
        data = self.decode(row.data)
        return self._accept(digest, copy_of(row, self._close(data)), data)

    def _accept(
        self, digest: str, copy: Copy, data: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return the data unless the time is over; write the activity when it is due."""
        now = time.time()
        if is_over(copy, data, now):
            return None
        self._found = copy
        if SESSION_KEY not in data or now - copy.seen < touch_interval(data):
            return data
        if self._touch(digest, copy, data):
            return data
        # The copy is out of date. What the row says now counts, and is touched next time.
        self._forget(digest)
        row = UserSession.objects.of(digest)
        if row is None or row.revoked_at is not None:
            return None
        data = self.decode(row.data)
        self._found = copy_of(row, self._close(data))
        return None if is_over(self._found, data, now) else data

    def _touch(self, digest: str, copy: Copy, data: dict[str, Any]) -> bool:
        """Ask the row and write the activity in one statement, and outside transactions.

        Within one, the row would stay locked until the view ends, and every other request of
        the same browser would wait for it. False when the row has ended or changed.
        """
        fresh = copy._replace(seen=time.time())
        fresh = fresh._replace(expires=expiry_of(fresh, data))

        def write() -> bool:
            if not UserSession.objects.touch(
                digest,
                version=copy.version,
                seen=from_seconds(fresh.seen),
                expires=from_seconds(fresh.expires),
            ):
                return False
            self._found = self._put(digest, copy.mark, fresh, data)
            return True

        using = database()
        if in_real_transaction(using):
            transaction.on_commit(write, using=using, robust=True)
            return UserSession.objects.is_version(digest, copy.version)
        return write()

    def _refill(self, digest: str, data: dict[str, Any]) -> None:
        """Copy the row to the cache, by way of a mark that is gone if the row ends meanwhile."""
        using = database()
        if in_real_transaction(using):
            # What this transaction reads may be older than what others have committed.
            refill = functools.partial(self._refill, digest, data)
            transaction.on_commit(refill, using=using, robust=True)
            return
        mark = self._lease(digest, data)
        row = UserSession.objects.of(digest) if mark.stamp else None
        if row is not None and row.revoked_at is None:
            latest = self.decode(row.data)
            copy = copy_of(row, self._close(latest))
            self._found = self._put(digest, mark, copy, latest)

    def _move_in(self, digest: str) -> dict[str, Any] | None:
        """Take over, once, what the engine that was used before knows under this key.

        The key stays, because other requests that carry it are under way.
        """
        key = self.session_key or ""
        try:
            data = previous_data(key)
        except StoreUnavailableError:
            self._is_unknown = True
            return None
        if data is not None:
            self._session_cache = data
            if SESSION_KEY in data:
                # It is not known where it signed in: this browser is the one that has it.
                self._client = current_client()
            try:
                self._found = self._write(digest, data, must_create=True, moves_in=True)
                self._is_unknown = False
            except (CreateError, UpdateError):
                data = None
            finally:
                del self._session_cache
            # Not before the row is there for good: the view may yet roll it back.
            after_commit(functools.partial(forget_previous, key), using=database())
        # Another request was first, or the session ended with all of its user's.
        return self._look(digest)[1] if data is None else data
