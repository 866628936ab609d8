"""The session engine.

The cookie holds a 256-bit secret; the table and the cache know its SHA-256. Who is signed in has
a row in ``UserSession``, which decides; the cache holds a copy of it. Visitors live in the cache
alone, unless ``CROSSAUTH_ANONYMOUS_SESSIONS`` says ``"table"`` or the cache does not answer.
"""

from __future__ import annotations

import base64
import functools
import re
import time
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError, router, transaction

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.managers.copies import (
    MOVED,
    NO_MARK,
    ROW,
    VISITOR,
    Copy,
    get_copies,
)
from crossauth_django.managers.identifiers import to_pk
from crossauth_django.managers.sessions import (
    after_commit,
    fingerprints,
    from_seconds,
    from_version,
    in_real_transaction,
    to_version,
)
from crossauth_django.models import UserSession
from crossauth_django.sessions.current import note_loaded
from crossauth_django.sessions.lifetimes import REMEMBER_KEY, copy_of, end_of, timeouts
from crossauth_django.sessions.previous import forget_previous, previous_data

# Our keys have 43 characters, those of Django's engines 32.
_KEY = re.compile(r"[A-Za-z0-9_-]{32,128}")


class SessionStore(SessionBase):
    """Django's session, ended on every worker at once and never revived by a save."""

    # What load() found, or save() left; None when there is nothing.
    _found: Copy | None = None
    # The user in the data as they were loaded or saved last.
    _owner: str | None = None
    # Nobody else has had the key.
    _is_fresh = False
    # The cookie may be good but cannot be looked up now: it is neither used nor taken away.
    _is_unknown = False
    # The browser has another key by now.
    _is_moved = False
    _is_asked_to_remember = False
    # What a sign-in said about the browser and the user, for the row.
    _client: dict[str, Any] | None = None
    _prints: tuple[str, str] | None = None
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
        if value is not None and value[0] in ROW + VISITOR:
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
        if self._found is None and not must_create:
            # Written without a look, by clear() for one: look now.
            self.load()
        if self.session_key is None:
            raise UpdateError
        self._found = self._write(crypto.digest(self.session_key), data, must_create)
        self._owner = data.get(SESSION_KEY)
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
                forget_previous(key)
            elif is_ours and reason is None:
                self._flushed = digest
        self._forget(digest)
        if is_ours:
            self._found = None

    def flush(self) -> None:
        super().flush()
        self._owner = self._end_reason = None
        self._is_unknown, self._is_fresh = False, True

    def cycle_key(self) -> None:
        """Give the session another key, and the one it has to nobody any more.

        A row keeps its handle and its place in the device list. One that has ended meanwhile
        stays ended: the save that follows raises ``UpdateError``.
        """
        data = self._session
        old, found = self.digest, self._found
        if old is not None and found is not None and found.kind == ROW:
            self._found = self._rotate(old, found)
        else:
            self.create()
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
        if not self._is_fresh:
            # Django keeps the key when the same user signs in again.
            self.cycle_key()
        if REMEMBER_KEY in self and not self._is_asked_to_remember:
            # Asked for at an earlier sign-in, not at this one.
            del self[REMEMBER_KEY]
            self.set_expiry(None)
        if self._flushed is not None:
            rows = UserSession.objects.primary().filter(token_hash=self._flushed)
            rows.update(end_reason="replaced_by_login")
            self._flushed = None
        self._client, self._prints = client, fingerprints(user)

    def remember(self) -> None:
        """Let ``CROSSAUTH_SESSION_REMEMBER_ME_AGE`` stand for both timeouts and the cookie's age."""
        self._is_asked_to_remember = True
        self[REMEMBER_KEY] = True
        self.set_expiry(int(timeouts(self._session)[0].total_seconds()))

    def end_as(self, reason: str) -> None:
        """Say why the session is about to be flushed."""
        self._end_reason = reason

    # Reading, a step each.

    def _look_up(self, digest: str) -> dict[str, Any] | None:
        try:
            value = get_copies().read(digest, UserSession.objects.changed_lately)
        except StoreUnavailableError:
            value, self._is_unknown = None, True
        else:
            self._is_unknown = False
        self._is_moved = value == MOVED
        if self._is_moved:
            return None
        copy = None if value is None else Copy.parse(digest, value)
        if copy is not None:
            return self._accept(digest, copy, self._open(copy.text))
        row = UserSession.objects.of(digest)
        if row is None:
            return self._move_in(digest)
        can_refill, self._is_unknown = not self._is_unknown, False
        data = self._accept_row(digest, row)
        if data is not None and can_refill:
            self._refill(digest)
        return data

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
        if now > end_of(copy, data):
            return None
        self._found = copy
        interval = conf.CROSSAUTH_SESSION_TOUCH_INTERVAL.total_seconds()
        if SESSION_KEY not in data or now - copy.seen < interval:
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
        return data if now <= end_of(self._found, data) else None

    def _touch(self, digest: str, copy: Copy, data: dict[str, Any]) -> bool:
        """Ask the row and write the activity in one statement, and outside transactions.

        Within one, the row would stay locked until the view ends, and every other request of
        the same browser would wait for it. False when the row has ended or changed.
        """
        fresh = copy._replace(seen=time.time())

        def write() -> bool:
            if not UserSession.objects.touch(
                digest,
                version=copy.version,
                seen=from_seconds(fresh.seen),
                expires=from_seconds(end_of(fresh, data)),
            ):
                return False
            self._found = self._put(digest, copy, fresh, data)
            return True

        using = _database()
        if in_real_transaction(using):
            transaction.on_commit(write, using=using, robust=True)
            return UserSession.objects.is_version(digest, copy.version)
        return write()

    def _refill(self, digest: str) -> None:
        """Copy the row to the cache, by way of a mark that is gone if the row ends meanwhile."""
        using = _database()
        if in_real_transaction(using):
            # What this transaction reads may be older than what others have committed.
            refill = functools.partial(self._refill, digest)
            transaction.on_commit(refill, using=using, robust=True)
            return
        mark = get_copies().lease(digest)
        row = None if mark is None else UserSession.objects.of(digest)
        if mark is not None and row is not None and row.revoked_at is None:
            data = self.decode(row.data)
            copy = copy_of(row, self._close(data))
            ttl = end_of(copy, data) - time.time()
            self._found = get_copies().put(digest, mark, copy, ttl)

    def _move_in(self, digest: str) -> dict[str, Any] | None:
        """Take over, once, what the engine that was used before knows under this key.

        The key stays, because other requests that carry it are under way.
        """
        key = self.session_key or ""
        data = previous_data(key)
        if data is None:
            # Or another request has just done so.
            return self._accept_moved(digest)
        self._session_cache = data
        try:
            self._found = self._write(digest, data, must_create=True, is_capped=False)
        except (CreateError, UpdateError):
            # Another request was first, or the user is gone.
            return self._accept_moved(digest)
        finally:
            del self._session_cache
        self._is_unknown = False
        forget_previous(key)
        return data

    def _accept_moved(self, digest: str) -> dict[str, Any] | None:
        if conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is None:
            return None
        row = UserSession.objects.of(digest)
        return None if row is None else self._accept_row(digest, row)

    # Writing, a step each.

    def _write(
        self,
        digest: str,
        data: dict[str, Any],
        must_create: bool,  # noqa: FBT001
        *,
        is_capped: bool = True,
    ) -> Copy:
        found = None if must_create else self._found
        if found is not None and found.kind == ROW:
            return self._save_row(digest, found, data)
        if SESSION_KEY in data or conf.CROSSAUTH_ANONYMOUS_SESSIONS == "table":
            return self._insert(digest, data, found, is_capped=is_capped)
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
        is_capped: bool = True,
    ) -> Copy:
        copy = self._copy(data, time.time())
        values = {**self._values(copy, data), **self._sign_in_values(copy, data)}
        row = UserSession(token_hash=digest, **values)
        using = _database()

        def write() -> bool:
            row.save(force_insert=True, using=using)
            return True

        try:
            if values["user_id"] is None:
                with transaction.atomic(using=using):
                    is_written = write()
            else:
                is_written = UserSession.objects.sign_in(
                    values["user_id"], write, digest=digest, is_capped=is_capped
                )
        except IntegrityError as error:
            raise (CreateError if found is None else UpdateError) from error
        if not is_written:
            # The user is gone.
            raise UpdateError
        return self._put(digest, found, copy, data)

    def _save_row(self, digest: str, found: Copy, data: dict[str, Any]) -> Copy:
        signs_in = SESSION_KEY in data and (
            self._client is not None or data[SESSION_KEY] != self._owner
        )
        copy = self._copy(data, time.time() if signs_in else found.created)
        values = self._values(copy, data)
        if signs_in:
            values.update(self._sign_in_values(copy, data))
        rows = UserSession.objects
        write = functools.partial(rows.write, digest, values)
        if signs_in and values["user_id"] is not None:
            is_written = rows.sign_in(values["user_id"], write, digest=digest)
        else:
            is_written = write()
        if not is_written:
            self._forget(digest)
            raise UpdateError
        return self._put(digest, found, copy, data)

    def _rotate(self, old: str, found: Copy) -> Copy | None:
        key = self._session_key = self._get_new_session_key()
        moment = from_seconds(time.time())
        if not UserSession.objects.rotate(old, crypto.digest(key), moment):
            self._forget(old)
            return None
        return found._replace(nonce="", version=to_version(moment))

    def _put(
        self, digest: str, found: Copy | None, copy: Copy, data: dict[str, Any]
    ) -> Copy:
        """Let the copy follow the row, if what stands there is still what we saw."""
        if in_real_transaction(_database()):
            # Not known yet to be committed, and then perhaps not the latest any more.
            self._forget(digest)
            return copy._replace(kind=ROW)
        mark = NO_MARK if found is None else found.mark
        return get_copies().put(digest, mark, copy, end_of(copy, data) - time.time())

    def _forget(self, digest: str) -> None:
        def forget() -> None:
            get_copies().drop([digest])

        after_commit(forget, using=_database())

    # Values.

    def _copy(self, data: dict[str, Any], created: float) -> Copy:
        now = time.time()
        ends = now + self.get_expiry_age()
        if SESSION_KEY in data:
            ends = min(ends, created + timeouts(data)[1].total_seconds())
        version = to_version(from_seconds(now))
        return Copy(VISITOR, "", now, created, ends, version, self._close(data))

    def _values(self, copy: Copy, data: dict[str, Any]) -> dict[str, Any]:
        moment = from_seconds(copy.seen)
        return {
            "user_id": to_pk(get_user_model(), data.get(SESSION_KEY)),
            "data": self.encode(data),
            "updated_at": moment,
            "changed_at": from_version(copy.version),
            "last_active_at": moment,
            "ends_at": from_seconds(copy.ends),
            "expires_at": from_seconds(end_of(copy, data)),
        }

    def _sign_in_values(self, copy: Copy, data: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {"created_at": from_seconds(copy.created)}
        if SESSION_KEY in data:
            password, email = self._prints or _fingerprints_of(data[SESSION_KEY])
            values.update(password_fingerprint=password, email_fingerprint=email)
            values.update(self._client or {})
            self._client = self._prints = None
        return values

    def _close(self, data: dict[str, Any]) -> str:
        """Return the data as a copy carries them: the copy as a whole is signed."""
        return base64.b64encode(self.serializer().dumps(data)).decode("ascii")

    def _open(self, text: str) -> dict[str, Any]:
        try:
            data: dict[str, Any] = self.serializer().loads(base64.b64decode(text))
        except ValueError:
            # Written before SESSION_SERIALIZER was changed.
            return {}
        return data

    def _get_new_session_key(self) -> str:
        return crypto.new_secret()

    async def _aget_new_session_key(self) -> str:
        return crypto.new_secret()

    def _validate_session_key(self, key: str | None) -> bool:
        return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _database() -> str:
    return router.db_for_write(UserSession)


def _fingerprints_of(user_id: str) -> tuple[str, str]:
    users = get_user_model()._base_manager.using(_database())
    user = users.filter(pk=to_pk(get_user_model(), user_id)).first()
    return ("", "") if user is None else fingerprints(user)


def _reason_for(rows: Any) -> str:
    """Why a session is flushed that nobody signed out of.

    Django flushes one whose user's password has changed, also by a door without signals.
    """
    row = rows.not_ended().select_related("user").first()
    if row is None or row.user is None:
        return "logout"
    is_same = fingerprints(row.user)[0] == row.password_fingerprint
    return "logout" if is_same else "password_reset"
