"""Signed-in browsers and bearer tokens, and what ended all of a user's."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import models, router
from django.utils.translation import gettext_lazy as _

from crossauth_django.fields import (
    AwareDateTimeField,
    ExactCharField,
    utc_now,
)
from crossauth_django.managers import (
    UserSessionManager,
)
from crossauth_django.managers.endings import REASON_LENGTH, ended, last_end
from crossauth_django.managers.sessions import BROWSER, TOKEN

if TYPE_CHECKING:
    from datetime import datetime

    from crossauth_django.protocols import SessionStatus


def new_handle() -> str:
    """Return 128 random bits (ASVS 11.5.1); a UUID has six less."""
    return secrets.token_hex(16)


class SessionsEnd(models.Model):
    """An end of all sessions that a user had: one row, however many they were.

    A session has met it when its ``began_after`` is smaller, unless it had ended before.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="crossauth_sessions_ends",
        verbose_name=_("user"),
    )
    ended_at = AwareDateTimeField(_("ended at"), db_index=True, default=utc_now)
    reason = models.CharField(_("end reason"), max_length=REASON_LENGTH)
    # How many were signed in, those that were spared left out.
    sessions = models.PositiveIntegerField(_("sessions"), default=0)

    class Meta:
        verbose_name = _("end of sessions")
        verbose_name_plural = _("ends of sessions")

    def __str__(self) -> str:
        return str(self.reason)


class UserSession(models.Model):
    """A signed-in browser or a bearer token, by the SHA-256 of its secret.

    Rows are written by the manager and by the session engine alone. ``changed_at`` moves with
    every change but a mere activity, so that a cached copy can tell whether it is the row's.

    What ends all sessions of a user writes no row of theirs (``SessionsEnd``). A row that a manager
    has loaded says so all the same, in ``revoked_at``, ``end_reason`` and ``status``; in queries the
    conditions of ``UserSessionQuerySet`` do.
    """

    # Not counted: it is the handle that the owner sees.
    id = ExactCharField(
        max_length=32, primary_key=True, default=new_handle, editable=False
    )
    # None for a visitor, with CROSSAUTH_ANONYMOUS_SESSIONS = "table".
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        related_name="crossauth_sessions",
        verbose_name=_("user"),
        # Of the index below.
        db_index=False,
    )
    # The number of the last end of all sessions that the user had seen by then.
    began_after = models.BigIntegerField(default=0, editable=False)
    kind = models.CharField(
        _("kind"),
        max_length=8,
        choices=[(BROWSER, _("browser")), (TOKEN, _("token"))],
        default=BROWSER,
    )
    token_hash = ExactCharField(max_length=255, unique=True, editable=False)
    data = models.TextField(default="", editable=False)
    password_fingerprint = models.CharField(max_length=32, default="", editable=False)
    email_fingerprint = models.CharField(max_length=32, default="", editable=False)
    # Text of any length: it comes from clients. The protocol tells None from "".
    client_id = models.TextField(_("client id"), null=True)  # noqa: DJ001
    client_name = models.TextField(_("client"), null=True)  # noqa: DJ001
    user_agent = models.TextField(_("user agent"), null=True)  # noqa: DJ001
    ip = models.TextField(_("address"), null=True)  # noqa: DJ001
    created_at = AwareDateTimeField(_("signed in at"), default=utc_now)
    updated_at = AwareDateTimeField(_("updated at"), default=utc_now)
    changed_at = AwareDateTimeField(db_index=True, default=utc_now, editable=False)
    last_active_at = AwareDateTimeField(_("last active at"), null=True)
    expires_at = AwareDateTimeField(_("expires at"), db_index=True)
    # No activity extends a session beyond this; None for tokens, which no activity extends.
    ends_at = AwareDateTimeField(null=True, editable=False)
    revoked_at = AwareDateTimeField(_("ended at"), null=True)
    end_reason = models.CharField(_("end reason"), max_length=REASON_LENGTH, default="")
    sudo_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    sudo_tried_at = AwareDateTimeField(null=True, editable=False)
    sudo_until = AwareDateTimeField(null=True, editable=False)

    objects: ClassVar[UserSessionManager] = UserSessionManager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        # So that a row says that it has met an end also where Django loads it by itself. A raw()
        # and the select_related() of another model ask no manager.
        base_manager_name = "objects"
        indexes = [
            models.Index(
                fields=["user", "began_after"], name="crossauth_django_of_user"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Begin after what has ended all sessions of the user so far."""
        begins = self._state.adding and self.user_id is not None
        if begins:
            self.began_after = last_end(self.user_id)
        super().save(*args, **kwargs)
        if begins:
            # Not its value where Django does not read it back: whoever asks reads it.
            vars(self).pop("began_after", None)

    def delete(
        self,
        using: str | None = None,
        keep_parents: bool = False,  # noqa: FBT001, FBT002  (Django's)
    ) -> tuple[int, dict[str, int]]:
        """Delete the row and, once that is committed, its copy."""
        using = using or router.db_for_write(UserSession, instance=self)
        deleted = super().delete(using=using, keep_parents=keep_parents)
        UserSession.objects.using(using).forget([self.token_hash], buries=True)
        return deleted

    def _meet(self, reason: str | None) -> None:
        met_at: datetime | None = vars(self).get("met_at")
        # What is loaded later is met then.
        is_told = not {"revoked_at", "end_reason"}.isdisjoint(vars(self))
        if met_at is not None and is_told and self.revoked_at is None:
            times = self.expires_at, self.ends_at
            self.revoked_at, self.end_reason = ended(met_at, reason or "", *times)

    # What the manager's queries set, after ``met_at``: the end of all that the row has met.
    met_reason = property(fset=_meet)

    @property
    def status(self) -> SessionStatus:
        """Whether it signs anybody in now: up to and including ``expires_at``, unless ended."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if utc_now() > self.expires_at else "active"
