"""The rows of sessions and bearer tokens: each change is one conditional statement."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router, transaction
from django.db.models import Case, Q, Value, When
from django.db.models.sql import UpdateQuery

from crossauth_django import crypto
from crossauth_django.conf import conf
from crossauth_django.fields import normalize_email, utc_now
from crossauth_django.managers.copies import get_copies
from crossauth_django.managers.transactions import in_transaction, lock_user

if TYPE_CHECKING:
    from typing_extensions import Self

    _QuerySet = models.QuerySet[Any]
else:
    _QuerySet = models.QuerySet

# A row; its class stands above this module.
Row: TypeAlias = Any

BROWSER, TOKEN = "browser", "token"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Rows that one statement of ``clear_expired`` deletes.
_BATCH = 1000


class UserSessionQuerySet(_QuerySet):
    """Conditions on what may still change."""

    def not_ended(self) -> Self:
        """Leave out what was ended; a timeout ends without being written."""
        rows: Self = self.filter(revoked_at=None)
        return rows

    def active(self, now: datetime | None = None) -> Self:
        """What is signed in at ``now``, up to and including its last moment."""
        rows: Self = self.not_ended().filter(expires_at__gte=now or utc_now())
        return rows

    def end(self, reason: str, *, at: datetime | None = None) -> int:
        """End for ever what has not ended yet, in one statement, and say how many.

        What ended before keeps its time and reason. The copies are forgotten once the change
        is committed; every worker knows at its next request.
        """
        values = {"revoked_at": at or utc_now(), "end_reason": reason}
        digests = self.not_ended().change(values)
        self.forget(digests)
        return len(digests)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows and, once that is committed, their copies."""
        self._for_write = True
        digests = list(self.values_list("token_hash", flat=True))
        deleted = super().delete()
        self.forget(digests, buries=True)
        return deleted

    # As Django marks its own: not to be called from templates, not copied to managers.
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def change(self, values: dict[str, Any]) -> list[str]:
        """Update and return the digests of the rows that were changed."""
        values = {**values, "changed_at": utc_now()}
        self._for_write = True
        connection = connections[self.db]
        if connection.vendor not in ("postgresql", "sqlite"):
            # No UPDATE ... RETURNING. The rows are told by the moment of their change.
            if not self.update(**values):
                return []
            changed = self.model._default_manager.using(self.db).filter(
                changed_at=values["changed_at"]
            )
            return list(changed.values_list("token_hash", flat=True))
        query: Any = self.query.chain(UpdateQuery)
        query.add_update_values(values)
        query.clear_ordering(force=True)
        try:
            statement, parameters = query.get_compiler(self.db).as_sql()
        except EmptyResultSet:
            return []
        returned = connection.ops.quote_name("token_hash")
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING {returned}", parameters)
            return [digest for (digest,) in cursor.fetchall()]

    def forget(self, digests: list[str], *, buries: bool = False) -> None:
        """Forget the copies once what was written so far is committed."""
        # A replica commits nothing.
        self._for_write = True
        if digests:
            forget = functools.partial(
                _forget_copies, self.model, digests, using=self.db, buries=buries
            )
            after_commit(forget, using=self.db)


class UserSessionManager(models.Manager.from_queryset(UserSessionQuerySet)):  # type: ignore[misc]
    """The only place that writes session rows."""

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
                bury(self.model, [old], using=using)

        after_commit(forget, using=using)
        return True

    def sign_in(
        self,
        user_id: Any,
        write: Callable[[], bool],
        *,
        digest: str,
        is_capped: bool = True,
    ) -> bool:
        """Write a session of a user, and end those beyond the cap; False without such a user.

        Sign-ins of one user wait for each other, so that the cap holds at every moment. The
        least recently active ends with reason ``session_limit``.
        """
        using = router.db_for_write(self.model)
        users = get_user_model()._base_manager.using(using)

        def work() -> bool:
            is_written = lock_user(users.all(), user_id) and write()
            limit = conf.CROSSAUTH_MAX_SESSIONS_PER_USER
            if is_written and is_capped and limit is not None:
                self._end_excess(user_id, digest, max(limit, 1))
            return is_written

        return in_transaction(work, using=using)

    def credentials_changed(
        self, user: AbstractBaseUser, *, spared: str | None = None
    ) -> int:
        """End the sessions that began with another password or address than the user has now.

        One statement, which finds nothing when neither has changed. The ``spared`` digest,
        that of the session which made the change, goes on and takes the new ones over.
        """
        password, email = fingerprints(user)
        is_spared = Q(token_hash=spared) if spared else Q(pk=None)
        is_password = ~Q(password_fingerprint=password)
        revoked_at = self.model._meta.get_field("revoked_at")
        rows = self.primary().not_ended().filter(user_id=user.pk)
        reason = Case(
            When(is_spared, then=Value("")),
            When(is_password, then=Value("password_reset")),
            default=Value("email_changed"),
        )
        # MySQL assigns from left to right: what the others are decided by comes last.
        digests = rows.filter(is_password | ~Q(email_fingerprint=email)).change(
            {
                "end_reason": reason,
                "revoked_at": Case(
                    When(is_spared, then=Value(None)),
                    # The column's own field: without USE_TZ a plain one takes no aware time.
                    default=Value(utc_now(), output_field=revoked_at),
                    output_field=revoked_at,
                ),
                "password_fingerprint": password,
                "email_fingerprint": email,
            }
        )
        rows.forget(digests)
        return len(digests)

    def changed_lately(self, within: timedelta) -> list[str]:
        """The digests of the rows that were written or ended so lately."""
        rows = self.primary().filter(changed_at__gte=utc_now() - within)
        return list(rows.values_list("token_hash", flat=True))

    def clear_expired(self) -> None:
        """Delete what has expired, in batches; what was ended stays for the device list."""
        rows = self.primary().not_ended().filter(expires_at__lt=utc_now())
        while pks := list(rows.values_list("pk", flat=True)[:_BATCH]):
            # Their copies have expired with them.
            models.QuerySet.delete(rows.filter(pk__in=pks))

    def _end_excess(self, user_id: Any, digest: str, limit: int) -> None:
        others = self.primary().active().filter(user_id=user_id, kind=BROWSER)
        others = others.exclude(token_hash=digest).order_by("-last_active_at", "-pk")
        excess = list(others.values_list("pk", flat=True)[limit - 1 :])
        if excess:
            self.primary().filter(pk__in=excess).end("session_limit")


def fingerprints(user: AbstractBaseUser) -> tuple[str, str]:
    """Return what stands for the user's password and address in their sessions' rows.

    Not keyed, so that a rotation of ``SECRET_KEY`` ends nothing; the password's is a digest of
    its salted hash.
    """
    email = getattr(user, user.get_email_field_name(), None)
    email = normalize_email(email) if isinstance(email, str) else ""
    texts = (f"password:{user.pk}:{user.password}", f"email:{user.pk}:{email}")
    password_fingerprint, email_fingerprint = (
        crypto.digest(text)[:32] for text in texts
    )
    return password_fingerprint, email_fingerprint


def bury(model: type[models.Model], digests: Iterable[str], *, using: str) -> None:
    """Leave ended rows for digests that have none any more.

    Whoever reaches the cache first when it is back finds there what to forget.
    """
    now = utc_now()
    dates = dict.fromkeys(("created_at", "updated_at", "expires_at", "revoked_at"), now)
    rows = [model(token_hash=digest, **dates) for digest in digests]
    model._default_manager.using(using).bulk_create(rows, ignore_conflicts=True)


def after_commit(callback: Callable[[], None], *, using: str) -> None:
    """Call when what was written so far is committed; at once outside a transaction.

    At once, too, in the transaction that a ``TestCase`` puts around everything and never commits.
    """
    if in_real_transaction(using):
        transaction.on_commit(callback, using=using)
    else:
        callback()


def in_real_transaction(using: str) -> bool:
    """Say whether a transaction is open that will be committed."""
    blocks = connections[using].atomic_blocks
    return bool(blocks) and not getattr(blocks[0], "_from_testcase", False)


def _forget_copies(
    model: type[models.Model], digests: list[str], *, using: str, buries: bool
) -> None:
    if not get_copies().drop(digests) and buries:
        bury(model, digests, using=using)


def to_version(changed_at: datetime) -> int:
    """Return microseconds since 1970."""
    return (changed_at - _EPOCH) // timedelta(microseconds=1)


def from_version(version: int) -> datetime:
    return _EPOCH + timedelta(microseconds=version)


def from_seconds(seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


def to_seconds(moment: datetime) -> float:
    return (moment - _EPOCH).total_seconds()
