"""What a session is made of: its state in this process, its copy and its row's values."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.sessions.backends.base import SessionBase
from django.db import router

from crossauth_django import crypto
from crossauth_django.managers.buckets import bucket, bucket_of, key_in
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.copy_format import NO_MARK, ROW, VISITOR, Copy, Mark
from crossauth_django.managers.credentials import Login, fingerprints
from crossauth_django.managers.identifiers import to_pk
from crossauth_django.managers.moments import (
    from_seconds,
    from_version,
    to_version,
)
from crossauth_django.managers.transactions import after_commit, in_real_transaction
from crossauth_django.models import UserSession
from crossauth_django.sessions.lifetimes import expiry_of, timeouts

# Serialized data that are text, as those of Django's own serializer are; no base64 begins so.
_TEXT = "="
# Nearly every session says these in many letters. In a copy a control character stands for each:
# JSON has none of its own, and text that has is left as it is.
_SHORT_TEXT = "~"
_SHORT = {
    "\1": f'"{SESSION_KEY}":',
    "\2": f'"{BACKEND_SESSION_KEY}":',
    "\3": f'"{HASH_SESSION_KEY}":',
    "\4": '"django.contrib.auth.backends.ModelBackend"',
}


class SessionState(SessionBase):
    """The state that reading and writing share."""

    # What load() found, or save() left; None when there is nothing.
    _found: Copy | None = None
    # The user in the data as they were loaded or saved last.
    _owner: str | None = None
    # Nobody else has had the key.
    _is_fresh = False
    # Nothing has been written under the key yet.
    _is_unsaved = False
    # The cookie may be good but cannot be looked up now: it is neither used nor taken away.
    _is_unknown = False
    # The browser has another key by now.
    _is_moved = False
    _is_asked_to_remember = False
    # What a sign-in said about the browser and the user, for the row.
    _client: dict[str, Any] | None = None
    _login: Login | None = None
    _end_reason: str | None = None
    # The session that was flushed by this one without a reason.
    _flushed: str | None = None

    if TYPE_CHECKING:
        _session: dict[str, Any]

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...  # noqa: FBT001, FBT002

    @property
    def digest(self) -> str | None:
        """What the table and the cache know of the key."""
        return None if self.session_key is None else crypto.digest(self.session_key)

    def _copy(self, data: dict[str, Any], created: float) -> Copy:
        now = time.time()
        ends = now + self.get_expiry_age()
        if SESSION_KEY in data:
            ends = min(ends, created + timeouts(data)[1].total_seconds())
        version = to_version(from_seconds(now))
        text = self._close(data)
        copy = Copy(VISITOR, "", now, created, ends, ends, version, text)
        return copy._replace(expires=expiry_of(copy, data))

    def _values(self, copy: Copy, data: dict[str, Any]) -> dict[str, Any]:
        moment = from_seconds(copy.seen)
        return {
            "user_id": to_pk(get_user_model(), data.get(SESSION_KEY)),
            "data": self.encode(data),
            "updated_at": moment,
            "changed_at": from_version(copy.version),
            "last_active_at": moment,
            "ends_at": from_seconds(copy.ends),
            "expires_at": from_seconds(copy.expires),
        }

    def _sign_in_values(self, copy: Copy, data: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {
            "created_at": from_seconds(copy.created),
            "sudo_until": None,
        }
        if SESSION_KEY in data:
            password, email = _fingerprints_of(data[SESSION_KEY], self._login)
            values.update(password_fingerprint=password, email_fingerprint=email)
            values.update(self._client or {})
            self._client = self._login = None
        return values

    def _close(self, data: dict[str, Any]) -> str:
        """Return the data as a copy carries them: the copy as a whole is signed."""
        raw: bytes = self.serializer().dumps(data)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(raw).decode("ascii")
        if any(short in text for short in _SHORT):
            return _TEXT + text
        for short, long in _SHORT.items():
            text = text.replace(long, short)
        return _SHORT_TEXT + text

    def _open(self, text: str) -> dict[str, Any]:
        if text.startswith(_SHORT_TEXT):
            for short, long in _SHORT.items():
                text = text.replace(short, long)
        is_text = text.startswith((_TEXT, _SHORT_TEXT))
        raw = text[1:].encode() if is_text else base64.b64decode(text)
        try:
            data: dict[str, Any] = self.serializer().loads(raw)
        except Exception:  # noqa: BLE001  (each serializer raises its own, as Django's decode() knows)
            # Written before SESSION_SERIALIZER was changed.
            return {}
        return data

    def _put(self, digest: str, mark: Mark, copy: Copy, data: dict[str, Any]) -> Copy:
        """Let the copy follow the row, if what stands there is still what we saw."""
        if in_real_transaction(database()):
            # Not known yet to be committed, and then perhaps not the latest any more.
            self._forget(digest)
            return copy._replace(kind=ROW)
        mark = mark if may_copy(digest, data) else NO_MARK
        return get_copies().put(digest, mark, copy, copy.expires - time.time())

    def _lease(self, digest: str, data: dict[str, Any]) -> Mark:
        """Mark the place of a copy before the row is read or written; see ``managers.copies``."""
        if not may_copy(digest, data) or in_real_transaction(database()):
            return NO_MARK
        return get_copies().lease(digest)

    def _forget(self, digest: str) -> None:
        def forget() -> None:
            get_copies().drop([digest])

        after_commit(forget, using=database())


def database() -> str:
    return router.db_for_write(UserSession)


def new_key(data: dict[str, Any]) -> str:
    """Return a key for a session with these data, in the bucket of its user."""
    wanted = _bucket_for(data)
    return crypto.new_secret() if wanted is None else key_in(wanted)


def may_copy(digest: str, data: dict[str, Any]) -> bool:
    """Say whether a row may be copied: where the end of all its user's sessions would reach it.

    A key that has moved in, or that was there before somebody signed in without ``login()``, is
    not its user's; such a session is read from the table.
    """
    return _bucket_for(data) in (None, bucket(digest))


def _bucket_for(data: dict[str, Any]) -> str | None:
    if SESSION_KEY not in data:
        return None
    return bucket_of(to_pk(get_user_model(), data[SESSION_KEY]))


def _fingerprints_of(user_id: str, login: Login | None) -> tuple[str, str]:
    if login is not None:
        return login.password_fingerprint, login.email_fingerprint
    users = get_user_model()._base_manager.using(database())
    user = users.filter(pk=to_pk(get_user_model(), user_id)).first()
    return ("", "") if user is None else fingerprints(user)
