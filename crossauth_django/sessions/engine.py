"""The session engine.

The cookie holds a 256-bit secret; the table and the cache know its SHA-256. Who is signed in has
a row in ``UserSession``, which decides; the cache holds a copy of it. Visitors live in the cache
alone, unless ``CROSSAUTH_ANONYMOUS_SESSIONS`` says ``"table"`` or the cache does not answer.
"""

from __future__ import annotations

import re
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import UpdateError

from crossauth_django import crypto
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.copy_format import ROW, VISITOR, Copy
from crossauth_django.managers.credentials import Login, fingerprints
from crossauth_django.managers.tombstones import bury
from crossauth_django.models import UserSession
from crossauth_django.sessions.current import note_loaded
from crossauth_django.sessions.lifetimes import REMEMBER_KEY, timeouts
from crossauth_django.sessions.previous import forget_previous
from crossauth_django.sessions.reading import SessionReader
from crossauth_django.sessions.state import may_copy, new_key

# A visitor's key has 43 characters, a user's 48, those of Django's engines 32.
_KEY = re.compile(r"[A-Za-z0-9_-]{32,128}")


class SessionStore(SessionReader):
    """Django's session, ended on every worker at once and never revived by a save."""

    @property
    def has_row(self) -> bool:
        """Whether it is in the table, as every signed-in session is; loads the session."""
        self._get_session()
        return self._found is not None and self._found.kind == ROW

    # What Django asks of an engine.

    def load(self) -> dict[str, Any]:
        note_loaded(self)
        self._found = None
        data = self._look_up(crypto.digest(self.session_key or ""))
        if data is not None:
            self._owner = data.get(SESSION_KEY)
            return data
        self._found = None
        if not (self._is_unknown or self._is_moved):
            self._session_key = None
        return {}

    def exists(self, session_key: str | None) -> bool:
        if session_key is None or not self._validate_session_key(session_key):
            return False
        digest = crypto.digest(session_key)
        try:
            value = get_copies().read(digest, UserSession.objects.changed_lately)
        except StoreUnavailableError:
            value = None
        if value is not None and Copy.parse(digest, value) is not None:
            return True
        rows = UserSession.objects.primary().active()
        return bool(rows.filter(token_hash=digest).exists())

    def create(self) -> None:
        self._is_unknown, self._is_fresh = False, True
        # Of 2**256: nobody has it.
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)
        self.modified = True

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002  (Django's)
        data = self._get_session(no_load=must_create)
        if self._is_moved:
            # Saved under another key, it would take the browser's new cookie away.
            raise UpdateError
        if self.session_key is None or self._is_unknown:
            return self.create()
        must_create = must_create or self._is_unsaved
        if self._found is None and not must_create:
            # Written without a look, by clear() for one: look now.
            self.load()
        if self.session_key is None:
            raise UpdateError
        self._found = self._write(crypto.digest(self.session_key), data, must_create)
        self._owner, self._is_unsaved = data.get(SESSION_KEY), False
        return None

    def delete(self, session_key: str | None = None) -> None:
        key = self.session_key if session_key is None else session_key
        if key is None:
            return
        digest, is_ours = crypto.digest(key), key == self.session_key
        if not (is_ours and self._found is not None and self._found.kind == VISITOR):
            rows = UserSession.objects.primary().filter(token_hash=digest)
            reason = self._end_reason if is_ours else None
            if not rows.end(reason or _reason_for(rows)):
                if not forget_previous(key):
                    bury([digest], using=rows.db)
            elif is_ours and reason is None:
                self._flushed = digest
        self._forget(digest)
        if is_ours:
            self._found = None

    def flush(self) -> None:
        super().flush()
        self._owner = self._end_reason = None
        self._is_unknown = self._is_unsaved = False
        self._is_fresh = True

    def cycle_key(self) -> None:
        """Give the session another key, and the one it has to nobody any more.

        A row keeps its handle and its place in the device list. One that has ended meanwhile
        stays ended: the save that follows raises ``UpdateError``.
        """
        data = self._session
        old, found = self.digest, self._found
        if old is not None and found is not None and found.kind == ROW:
            self._found = self._rotate(old, found, data)
        else:
            # Written by the save that follows, perhaps under the key of who signs in.
            self._session_key, self._is_unsaved = new_key(data), True
            self._found, self._is_unknown = None, False
            if old is not None and found is not None:
                self._forget(old)
        self._session_cache = data
        self.modified = self._is_fresh = True

    async def aflush(self) -> None:
        await sync_to_async(self.flush)()

    async def acycle_key(self) -> None:
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        UserSession.objects.clear_expired()

    # Signing in and out.

    def signed_in(self, user: AbstractBaseUser, client: dict[str, Any]) -> None:
        """Take a sign-in over: a new key, a new beginning, the browser for the device list."""
        # One without a key has not been loaded.
        note_loaded(self)
        if not self._is_fresh:
            # Django keeps the key when the same user signs in again.
            self.cycle_key()
        self._move_to_user()
        if self._is_asked_to_remember:
            # Again, because Django flushes the session of another user.
            self.remember()
        elif REMEMBER_KEY in self:
            # Asked for at an earlier sign-in, not at this one.
            del self[REMEMBER_KEY]
            self.set_expiry(None)
        if self._flushed is not None:
            rows = UserSession.objects.primary().filter(token_hash=self._flushed)
            rows.update(end_reason="replaced_by_login")
            self._flushed = None
        self._client, self._login = client, Login.of(user)

    def follow(self, saved: dict[str, str]) -> None:
        """Take over what the request that signs a user in saves of them before the session."""
        if self._login is not None:
            self._login = Login(**{**self._login._asdict(), **saved})

    def remember(self) -> None:
        """Let ``CROSSAUTH_SESSION_REMEMBER_ME_AGE`` stand for both timeouts and the cookie's age."""
        self._is_asked_to_remember = True
        self[REMEMBER_KEY] = True
        self.set_expiry(int(timeouts(self._session)[0].total_seconds()))

    def end_as(self, reason: str) -> None:
        """Say why the session is about to be flushed."""
        self._end_reason = reason

    def _move_to_user(self) -> None:
        """Take a key of the user's, whose copies end all at once."""
        if self._is_unsaved:
            self._session_key = new_key(self._session)
        elif self.digest is not None and not may_copy(self.digest, self._session):
            # A visitor's row.
            self.cycle_key()

    def _get_new_session_key(self) -> str:
        return new_key(getattr(self, "_session_cache", {}))

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _validate_session_key(self, key: str | None) -> bool:
        return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _reason_for(rows: Any) -> str:
    """Why a session is flushed that nobody signed out of.

    Django flushes one whose user's password has changed, also by a door without signals.
    """
    row = rows.not_ended().select_related("user").first()
    if row is None or row.user is None:
        return "logout"
    is_same = fingerprints(row.user)[0] == row.password_fingerprint
    return "logout" if is_same else "password_reset"
