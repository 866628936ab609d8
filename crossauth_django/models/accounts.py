"""Users, their identities at providers, and which of their addresses were verified."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import models as auth_models
from django.db import models
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
)
from crossauth_django.managers.attributes import Attribute, HasUsablePassword
from crossauth_django.managers.users import hashed_password


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
