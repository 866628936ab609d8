"""User models as projects have them; ``CROSSAUTH_TEST_USER`` chooses one, the others get no table."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth import models as auth_models
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from crossauth_django.managers import AccountsManager
from crossauth_django.models import AbstractUser


class MixinUser(AbstractUser):
    """The abstract model, with a column more."""

    nickname = models.CharField(max_length=50, blank=True)

    class Meta(AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"


class ManagedUser(auth_models.AbstractUser):
    """Django's own model, username and all, with our manager."""

    objects: ClassVar[Any] = AccountsManager()

    class Meta(auth_models.AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"


class MemberManager(BaseUserManager["Member"]):
    def create_user(self, contact: str, password: str | None = None) -> Member:
        member = self.model(contact=self.normalize_email(contact))
        member.set_password(password)
        member.save(using=self._db)
        return member

    def create_superuser(self, contact: str, password: str | None = None) -> Member:
        return self.create_user(contact, password)


class Member(AbstractBaseUser):
    """Untouched by us: a UUID, an address under another name, no username, no permissions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    contact = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    changed_at = models.DateTimeField(auto_now=True)

    objects = MemberManager()

    USERNAME_FIELD = "contact"
    EMAIL_FIELD = "contact"

    class Meta:
        swappable = "AUTH_USER_MODEL"

    def __str__(self) -> str:
        return self.contact


class FlaggedUser(auth_models.AbstractUser):
    """Has a flag of its own for a verified address: ``CROSSAUTH_USER_FIELDS`` maps it."""

    is_confirmed = models.BooleanField(default=False)

    class Meta(auth_models.AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"


class OwnFlagUser(auth_models.AbstractUser):
    """Has a column that is called what the protocols call it, and our manager."""

    email_verified = models.BooleanField(default=False)

    objects: ClassVar[Any] = AccountsManager()

    class Meta(auth_models.AbstractUser.Meta):
        swappable = "AUTH_USER_MODEL"
