"""The tables; the rules are in ``managers``."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth import models as auth_models
from django.db import models, router
from django.utils.translation import gettext_lazy as _

from crossauth_django.fields import (
    AwareDateTimeField,
    EmailAddressField,
    EncryptedTextField,
    ExactCharField,
    normalize_email,
    utc_now,
)
from crossauth_django.managers import (
    AccountsManager,
    SocialAccountManager,
    UserSessionManager,
)
from crossauth_django.managers.attributes import Attribute, HasUsablePassword
from crossauth_django.managers.endings import REASON_LENGTH, ended, last_end
from crossauth_django.managers.sessions import BROWSER, TOKEN
from crossauth_django.managers.users import hashed_password

if TYPE_CHECKING:
    from datetime import datetime

    from crossauth_django.protocols import SessionStatus


class AbstractUser(auth_models.AbstractUser):
    """A user who signs in with an e-mail address, in any case; there is no username."""

    # A ``CharField`` there; None takes it away.
    username = None  # type: ignore[assignment]
    email = EmailAddressField(
        _("email address"),
        unique=True,
        error_messages={"unique": _("A user with that email address already exists.")},
    )
    # The address, not a flag: an address that is changed elsewhere is not a verified one.
    verified_email = EmailAddressField(
        _("verified email address"), null=True, editable=False
    )

    objects: ClassVar[AccountsManager[Any]] = AccountsManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    VERIFIED_EMAIL_FIELD = "verified_email"

    hashed_password = Attribute(hashed_password)
    has_usable_password = HasUsablePassword(
        auth_models.AbstractUser.has_usable_password
    )

    class Meta(auth_models.AbstractUser.Meta):
        abstract = True

    @property
    def email_verified(self) -> bool:
        """True only while the current address is the one that was verified."""
        return bool(self.email) and self.verified_email == normalize_email(self.email)

    @email_verified.setter
    def email_verified(self, value: bool) -> None:
        self.verified_email = normalize_email(self.email) if value else None


class User(AbstractUser):
    """``AUTH_USER_MODEL = "crossauth_django.User"``."""

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"


class SocialAccount(models.Model):
    """One identity at one provider, with one owner."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="social_accounts",
        verbose_name=_("user"),
    )
    provider = ExactCharField(_("provider"), max_length=64)
    provider_user_id = ExactCharField(_("id at the provider"), max_length=255)
    # The protocol tells None from "".
    provider_email = models.CharField(  # noqa: DJ001
        _("email address at the provider"), max_length=320, null=True, blank=True
    )
    provider_email_verified = models.BooleanField(
        _("verified by the provider"), null=True, blank=True
    )
    is_login_method = models.BooleanField(_("signs in"), default=True)
    access_token = EncryptedTextField(_("access token"), null=True)
    refresh_token = EncryptedTextField(_("refresh token"), null=True)
    access_token_expires_at = AwareDateTimeField(
        _("access token expires at"), null=True, blank=True
    )
    refresh_token_expires_at = AwareDateTimeField(
        _("refresh token expires at"), null=True, blank=True
    )
    scope = models.TextField(_("scope"), null=True, blank=True)  # noqa: DJ001
    user_info = models.JSONField(_("profile at the provider"), default=dict, blank=True)
    created_at = AwareDateTimeField(_("created at"), default=utc_now, editable=False)
    updated_at = AwareDateTimeField(_("updated at"), default=utc_now, editable=False)

    objects = SocialAccountManager["SocialAccount"]()

    class Meta:
        verbose_name = _("social account")
        verbose_name_plural = _("social accounts")
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "provider_user_id"],
                name="crossauth_identity_has_one_owner",
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider}: {self.provider_user_id}"


class VerifiedEmail(models.Model):
    """Which address of a user was verified, for user models that cannot say so themselves."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="crossauth_verified_email",
        verbose_name=_("user"),
    )
    email = EmailAddressField(_("email address"), max_length=320)
    verified_at = AwareDateTimeField(_("verified at"), default=utc_now)

    class Meta:
        verbose_name = _("verified email address")
        verbose_name_plural = _("verified email addresses")

    def __str__(self) -> str:
        return str(self.email)


class AddressLock(models.Model):
    """A row to wait for, where no constraint says that an address has one user."""

    number = models.PositiveSmallIntegerField(primary_key=True)

    class Meta:
        verbose_name = _("address lock")
        verbose_name_plural = _("address locks")

    def __str__(self) -> str:
        return str(self.number)


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
