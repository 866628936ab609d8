"""The rows of sessions and bearer tokens: each change is one conditional statement."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from operator import or_
from typing import Any, TypeAlias

from django.contrib.auth import get_user_model
from django.db import models, router
from django.db.models import Case, Q, Value, When

from crossauth_django.conf import conf
from crossauth_django.fields import utc_now
from crossauth_django.managers import tables
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.credentials import REASONS, Login
from crossauth_django.managers.ending_all import end_all
from crossauth_django.managers.endings import check_reason, ending, goes_on
from crossauth_django.managers.moments import from_version
from crossauth_django.managers.session_rows import UserSessionQuerySet
from crossauth_django.managers.tombstones import (
    bury,
    is_refused,
    refuse_previous,
    retention,
)
from crossauth_django.managers.transactions import (
    after_commit,
    in_transaction,
    lock_user,
)

# A row; its class stands above this module.
Row: TypeAlias = Any

BROWSER, TOKEN = "browser", "token"

# Rows that one statement of ``clear_expired`` deletes.
_BATCH = 1000


class UserSessionManager(models.Manager.from_queryset(UserSessionQuerySet)):  # type: ignore[misc]
    """The only place that writes session rows."""

    def get_queryset(self) -> UserSessionQuerySet:
        rows: UserSessionQuerySet = super().get_queryset()
        rows.query = self._with_ends.chain()
        return rows

    @functools.cached_property
    def _with_ends(self) -> Any:
        # The same for all queries.
        return super().get_queryset().with_ends().query

    def primary(self) -> UserSessionQuerySet:
        """The rows where they are written: a replica may not know yet that a session ended."""
        rows: UserSessionQuerySet = self.using(router.db_for_write(self.model))
        return rows

    def of(self, digest: str) -> Row | None:
        """Return the browser session under this digest, ended ones included."""
        return self.primary().filter(token_hash=digest, kind=BROWSER).first()

    def write(self, digest: str, values: dict[str, Any]) -> bool:
        """Write a browser session that has not ended; False when it has. One statement."""
        rows = self.primary().not_ended().filter(token_hash=digest, kind=BROWSER)
        return bool(rows.update(**values))

    def touch(
        self, digest: str, *, version: int, seen: datetime, expires: datetime
    ) -> bool:
        """Write the last activity; False when the row has ended, or changed since ``version``."""
        rows = self.primary().filter(changed_at=from_version(version))
        rows = rows.not_ended().filter(token_hash=digest, kind=BROWSER)
        return bool(rows.update(last_active_at=seen, expires_at=expires))

    def is_version(self, digest: str, version: int) -> bool:
        """Say whether the row goes on and has not changed since ``version``."""
        rows = self.primary().filter(changed_at=from_version(version))
        rows = rows.not_ended().filter(token_hash=digest, kind=BROWSER)
        return bool(rows.exists())

    def rotate(self, old: str, new: str, moment: datetime) -> bool:
        """Give a session that has not ended another digest, and the old one to nobody.

        The cache says for a minute that the session has moved. When it does not answer, a row
        that has ended says so.
        """
        if not self.write(old, {"token_hash": new, "changed_at": moment}):
            return False
        using = router.db_for_write(self.model)

        def forget() -> None:
            if not get_copies().mark_moved(old):
                bury([old], using=using)

        after_commit(forget, using=using)
        return True

    def sign_in(
        self,
        user_id: Any,
        write: Callable[[], bool],
        *,
        digest: str,
        login: Login | None = None,
        moves_in: bool = False,
    ) -> bool:
        """Write a session of a user, and end those beyond the cap; False without such a user.

        False, too, when the user is no longer as ``login`` says: what ends sessions then has
        not seen this one. Sign-ins of one user wait for each other, so that the cap holds at
        every moment. The least recently active ends with reason ``session_limit``. One that
        moves in from the engine before ends no other; False when it had to end with the others.
        """
        using = router.db_for_write(self.model)
        users = get_user_model()._base_manager.using(using)

        def work() -> bool:
            if not lock_user(users.all(), user_id):
                return False
            # Locked, because on MySQL a plain SELECT may see what was before the user was.
            found = users.select_for_update().filter(pk=user_id)
            if login is not None and login not in map(Login.of, found):
                return False
            if moves_in and is_refused(user_id, using=using):
                return False
            is_written, limit = write(), conf.CROSSAUTH_MAX_SESSIONS_PER_USER
            if is_written and not moves_in and limit is not None:
                self._end_excess(user_id, digest, max(limit, 1))
            return is_written

        return in_transaction(work, using=using)

    def end_all(
        self, user_id: Any, reason: str, *, spared: Collection[str] = ()
    ) -> int:
        """End all sessions of a user but the ``spared`` digests; see ``managers.ending_all``.

        Also those that have not moved in yet. One row says so, however many they are.
        """
        check_reason(reason)
        if user_id is None:
            return 0
        self.refuse_previous(user_id)
        return end_all(router.db_for_write(self.model), user_id, reason, spared)

    def end_all_at(
        self, user_id: Any, reason: str, at: datetime, *, spared: str | None
    ) -> int:
        """Do so by writing each row, with a time of the caller's; ``spared`` is an id."""
        if user_id is None:
            return 0
        self.refuse_previous(user_id)
        rows: UserSessionQuerySet = self.primary().of_user(user_id).exclude(pk=spared)
        return rows.end(reason, at=at)

    def credentials_changed(
        self, user_id: Any, saved: dict[str, str], *, spared: str | None = None
    ) -> int:
        """End the sessions that began with other than the ``saved`` fingerprints.

        One statement, which finds nothing when none has changed. The ``spared`` digest,
        that of the session which made the change, goes on and takes the new ones over.
        """
        is_spared = Q(token_hash=spared) if spared else None
        changed = [
            (~Q(**{column: value}), Value(REASONS[column]))
            for column, value in saved.items()
        ]
        reason = Case(*(When(each, then=reason) for each, reason in changed))
        has_changed = functools.reduce(or_, (each for each, _ in changed))
        rows = self.primary().filter(user_id=user_id)
        digests = rows.change(
            # MySQL assigns from left to right: what the others are decided by comes last.
            {**ending(utc_now(), reason, spared=is_spared), **saved},
            where=goes_on(user_id) & has_changed,
        )
        rows.forget(digests)
        return len(digests)

    def password_renewed(self, user_id: Any, old: str, new: str) -> None:
        """Follow a hash that was renewed: the password is the same, and nothing ends."""
        rows = self.primary().going_on_of(user_id)
        rows.filter(password_fingerprint=old).update(password_fingerprint=new)

    def refuse_previous(self, user_id: Any) -> None:
        """Let no session of this user move in any more from the engine before."""
        refuse_previous(user_id, using=router.db_for_write(self.model))

    def changed_lately(self, within: timedelta) -> tuple[list[str], list[Any]]:
        """The digests of rows that were written or ended so lately, and whose all were ended."""
        since, using = utc_now() - within, router.db_for_write(self.model)
        rows = self.primary().filter(changed_at__gte=since)
        ends = tables.rows("SessionsEnd", using=using).filter(ended_at__gte=since)
        users = ends.order_by().values_list("user_id", flat=True).distinct()
        return list(rows.values_list("token_hash", flat=True)), list(users)

    def clear_expired(self) -> None:
        """Delete what has expired, in batches; what was ended stays for the device list."""
        before = utc_now() - retention()
        rows = self.primary().not_ended().filter(expires_at__lt=before)
        while pks := list(rows.values_list("pk", flat=True)[:_BATCH]):
            # Their copies have expired with them.
            models.QuerySet.delete(rows.filter(pk__in=pks))

    def _end_excess(self, user_id: Any, digest: str, limit: int) -> None:
        others = self.primary().going_on_of(user_id).filter(kind=BROWSER)
        others = (
            others.filter(expires_at__gte=utc_now())
            .exclude(token_hash=digest)
            .order_by("-last_active_at", "-pk")
        )
        excess = list(others.values_list("pk", flat=True)[limit - 1 :])
        if excess:
            self.primary().filter(pk__in=excess).end("session_limit")
