"""The ``SessionStorage`` protocol over the table that the session engine keeps, too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import Q

from crossauth_django.eventloop import is_loop_running, off_loop
from crossauth_django.exceptions import AccountMissingError
from crossauth_django.managers.credentials import fingerprints, reason_to_end
from crossauth_django.managers.endings import goes_on, of_status
from crossauth_django.managers.identifiers import is_storable, storable, to_pk
from crossauth_django.managers.refusals import refusal
from crossauth_django.managers.sessions import TOKEN
from crossauth_django.managers.transactions import in_transaction
from crossauth_django.storage.cursors import ORDERS, beyond_cursor, cursor_of

if TYPE_CHECKING:
    from crossauth_django.protocols import (
        SessionListOrder,
        SessionRecord,
        SessionStatus,
    )

_DIGEST_LENGTH = 255
# One more is asked for, and a database counts in 64 bits with a sign.
_MOST = 2**63 - 2


@dataclass(frozen=True)
class SessionPage:
    """Records in their order; ``next_cursor`` is None on the last page."""

    records: list[SessionRecord]
    next_cursor: str | None


class SessionStorage:
    """Sessions and tokens of users, by the digest of their secret.

    It has no state, and every method may be called on a running event loop. Each write is one
    conditional statement, in a transaction of its own or in the caller's.

    The engine's sessions of browsers are listed, found by id and revoked here too, and end at
    their next request. ``get`` and ``refresh`` know tokens alone: a browser's cookie, shown as
    a bearer token, would pass the CSRF check by.
    """

    @off_loop
    def create(
        self,
        *,
        token_hash: str,
        user_id: Any,
        created_at: datetime,
        updated_at: datetime,
        expires_at: datetime,
        client_id: str | None = None,
        client_name: str | None = None,
        user_agent: str | None = None,
        ip: str | None = None,
        last_active_at: datetime | None = None,
    ) -> SessionRecord:
        """Begin a session. Raise ``AccountMissingError`` without such a user.

        A ``token_hash`` that exists is an ``IntegrityError``, which leaves the caller's
        transaction usable; one that is not 1 to 255 characters of text is a ``ValueError``. What
        describes the client is any text, kept without what no database stores.
        """
        if not is_storable(token_hash) or len(token_hash) > _DIGEST_LENGTH:
            raise ValueError("token_hash is not 1 to 255 characters of text")
        model, using = get_user_model(), self._write_alias()
        pk = to_pk(model, user_id)
        user = (
            None
            if pk is None
            else model._base_manager.using(using).filter(pk=pk).first()
        )
        if user is None:
            raise refusal(AccountMissingError, "no such user")
        password, email = fingerprints(user)
        create = functools.partial(
            _sessions().using(using).create,
            kind=TOKEN,
            token_hash=token_hash,
            user_id=user.pk,
            password_fingerprint=password,
            email_fingerprint=email,
            created_at=created_at,
            updated_at=updated_at,
            expires_at=expires_at,
            client_id=storable(client_id),
            client_name=storable(client_name),
            user_agent=storable(user_agent),
            ip=storable(ip),
            last_active_at=last_active_at,
        )
        record: SessionRecord = in_transaction(create, using=using)
        return record

    @off_loop
    def get(self, *, token_hash: str, now: datetime) -> SessionRecord | None:
        """Return the session while it is active, up to and including ``expires_at``.

        None, too, when the user's password or address has changed by a door without signals.
        """
        if not is_storable(token_hash):
            return None
        rows = _sessions().primary().active(now).select_related("user")
        found: Any = rows.filter(
            token_hash=token_hash, kind=TOKEN, user__isnull=False
        ).first()
        if found is None or reason_to_end(found, found.user) is not None:
            return None
        record: SessionRecord = found
        return record

    @off_loop
    def get_any(self, session_id: Any) -> SessionRecord | None:
        """Return the session whatever its status; None for an id that names none."""
        found: SessionRecord | None = self._rows(session_id).first()
        return found

    @off_loop
    def list_for_user(
        self,
        user_id: Any,
        *,
        now: datetime,
        status: SessionStatus | None = None,
        order_by: SessionListOrder = "updated_at_desc",
        limit: int = 50,
        cursor: str | None = None,
    ) -> SessionPage:
        """Return one page, in one query; pages neither repeat nor skip what stays as it was.

        A cursor belongs to its order. Raise ``InvalidCursorError``, a ``ValueError``, for one
        that is malformed or of another order, and ``ValueError`` for an unknown order or status
        and for a limit below 1, or above what a database counts.
        """
        if not 1 <= limit <= _MOST:
            raise ValueError(f"limit must be 1 to {_MOST}")
        # A tuple, because what somebody else sent may not be hashable.
        if order_by not in tuple(ORDERS):
            raise ValueError(f"unknown order {order_by!r}")
        field, is_descending = ORDERS[order_by]
        beyond = Q() if cursor is None else beyond_cursor(cursor, order_by)
        pk = to_pk(get_user_model(), user_id)
        if pk is None:
            return SessionPage([], None)
        sign = "-" if is_descending else ""
        rows = _sessions().filter(
            Q() if status is None else of_status(status, now), beyond, user_id=pk
        )
        # One more than asked for tells whether there is another page.
        found = list(rows.order_by(f"{sign}{field}", f"{sign}pk")[: limit + 1])
        records = found[:limit]
        is_last = len(found) <= limit
        return SessionPage(
            records, None if is_last else cursor_of(order_by, records[-1])
        )

    @off_loop
    def refresh(
        self,
        session_id: Any,
        *,
        updated_at: datetime,
        expires_at: datetime,
        last_active_at: datetime | None = None,
    ) -> SessionRecord | None:
        """Extend a token that is active at ``updated_at``; None, and unchanged, otherwise.

        One conditional statement: what is being revoked is not revived. Without
        ``last_active_at`` the stored one stays. A browser's session is its engine's to extend.
        """
        values = {"updated_at": updated_at, "expires_at": expires_at}
        if last_active_at is not None:
            values["last_active_at"] = last_active_at
        is_active = goes_on() & Q(expires_at__gte=updated_at)
        tokens = self._rows(session_id).filter(kind=TOKEN)
        digests = tokens.change(values, where=is_active)
        _sessions().primary().forget(digests)
        found: SessionRecord | None = (
            self._rows(session_id).first() if digests else None
        )
        return found

    @off_loop
    def revoke(self, session_id: Any, *, revoked_at: datetime) -> None:
        """End a session; one that has ended keeps its time."""
        self._rows(session_id).end("manual_termination", at=revoked_at)

    @off_loop
    def revoke_all_for_user(
        self,
        user_id: Any,
        *,
        revoked_at: datetime,
        except_session_id: Any | None = None,
    ) -> int:
        """End the user's sessions but one, in one statement; return how many ended now."""
        pk = to_pk(get_user_model(), user_id)
        # Nobody's when it is malformed.
        spared = to_pk(_sessions().model, except_session_id)
        ended: int = _sessions().end_all_at(pk, "logout_all", revoked_at, spared=spared)
        return ended

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back when what was written is durable: at once outside a transaction.

        Inside one, after the outermost commit; dropped when it, or the savepoint, is rolled
        back. An exception of the callback propagates; it undoes nothing.
        """
        if is_loop_running():
            # What was written there was committed on another thread before it returned.
            callback()
            return
        transaction.on_commit(callback, using=self._write_alias(), robust=False)

    def _rows(self, session_id: Any) -> Any:
        """The rows of users under an id; none under one that names none."""
        pk = to_pk(_sessions().model, session_id)
        rows = _sessions().primary()
        return rows.none() if pk is None else rows.filter(pk=pk, user__isnull=False)

    def _write_alias(self) -> str:
        return router.db_for_write(_sessions().model)


def _sessions() -> Any:
    """The manager of ``UserSession``: models and storages do not import each other."""
    return apps.get_model("crossauth_django", "UserSession")._default_manager
