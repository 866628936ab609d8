"""Writing a session: one conditional statement for a row, one step for a visitor's."""

from __future__ import annotations

import functools
import time
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.db import IntegrityError, transaction

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.copy_format import NO_MARK, ROW, Copy
from crossauth_django.managers.endings import last_end
from crossauth_django.managers.moments import from_seconds, to_version
from crossauth_django.models import UserSession
from crossauth_django.sessions.state import SessionState, database, new_key


class SessionWriter(SessionState):
    """A step each."""

    def _write(
        self,
        digest: str,
        data: dict[str, Any],
        must_create: bool,  # noqa: FBT001
        *,
        moves_in: bool = False,
    ) -> Copy:
        found = None if must_create else self._found
        if found is not None and found.kind == ROW:
            return self._save_row(digest, found, data)
        if SESSION_KEY in data or conf.CROSSAUTH_ANONYMOUS_SESSIONS == "table":
            return self._insert(digest, data, found, moves_in=moves_in)
        return self._save_visitor(digest, data, found)

    def _save_visitor(
        self, digest: str, data: dict[str, Any], found: Copy | None
    ) -> Copy:
        copy = self._copy(data, time.time() if found is None else found.created)
        ttl = copy.ends - time.time()
        try:
            if found is None:
                is_written = get_copies().add_visitor(digest, copy, ttl)
            else:
                is_written = get_copies().replace_visitor(digest, copy, ttl)
        except StoreUnavailableError:
            # Else nobody could sign in: the form's CSRF token lives in the session.
            return self._insert(digest, data, found)
        if is_written:
            return copy
        raise CreateError if found is None else UpdateError

    def _insert(
        self,
        digest: str,
        data: dict[str, Any],
        found: Copy | None,
        *,
        moves_in: bool = False,
    ) -> Copy:
        copy, login = self._copy(data, time.time()), self._login
        values = {**self._values(copy, data), **self._sign_in_values(copy, data)}
        using = database()
        mark = self._lease(digest, data) if found is None else NO_MARK

        def write() -> bool:
            # Another one each time: what was undone still takes itself for saved.
            row = UserSession(token_hash=digest, **values)
            row.save(force_insert=True, using=using)
            return True

        try:
            if values["user_id"] is None:
                with transaction.atomic(using=using):
                    is_written = write()
            else:
                is_written = UserSession.objects.sign_in(
                    values["user_id"],
                    write,
                    digest=digest,
                    login=login,
                    moves_in=moves_in,
                )
        except IntegrityError as error:
            raise (CreateError if found is None else UpdateError) from error
        if not is_written:
            # The user is gone or has changed, or all of the user's sessions have ended.
            raise UpdateError
        return self._put(digest, mark, copy, data)

    def _save_row(self, digest: str, found: Copy, data: dict[str, Any]) -> Copy:
        signs_in = SESSION_KEY in data and (
            self._client is not None or data[SESSION_KEY] != self._owner
        )
        copy = self._copy(data, time.time() if signs_in else found.created)
        values, login = self._values(copy, data), self._login
        if signs_in:
            values.update(self._sign_in_values(copy, data))
            values["began_after"] = last_end(values["user_id"])
        rows = UserSession.objects
        write = functools.partial(rows.write, digest, values)
        if signs_in and values["user_id"] is not None:
            user_id = values["user_id"]
            is_written = rows.sign_in(user_id, write, digest=digest, login=login)
        else:
            is_written = write()
        if not is_written:
            self._forget(digest)
            raise UpdateError
        return self._put(digest, found.mark, copy, data)

    def _rotate(self, old: str, found: Copy, data: dict[str, Any]) -> Copy:
        key = self._session_key = new_key(data)
        moment = from_seconds(time.time())
        if not UserSession.objects.rotate(old, crypto.digest(key), moment):
            # There is no row under the new key, and the save that follows looks for one: it is
            # no new session, however often it is rotated.
            self._forget(old)
        return found._replace(nonce="", version=to_version(moment))
