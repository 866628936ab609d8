"""Users and their first identities: the ``AccountsStorage`` protocol over any user model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models, router
from django.db.models.signals import class_prepared
from django.views.decorators.debug import sensitive_variables

from crossauth_django.conf import conf
from crossauth_django.eventloop import off_loop
from crossauth_django.fields import normalize_email
from crossauth_django.managers import creation
from crossauth_django.managers.attributes import complete
from crossauth_django.managers.identifiers import to_pk
from crossauth_django.managers.identities import attach
from crossauth_django.managers.lookup import only_user, users_with_address
from crossauth_django.managers.social import IdentityMethods
from crossauth_django.managers.transactions import in_transaction
from crossauth_django.managers.users import has_record, username_field

if TYPE_CHECKING:
    from crossauth_django.protocols import (
        SocialAccount,
        SocialAccountCreate,
        UserCreate,
    )

U = TypeVar("U")
M = TypeVar("M", bound=AbstractBaseUser)


class AccountMethods(IdentityMethods, Generic[U]):
    """The protocol's methods; ``U`` is what they say about a user."""

    @abstractmethod
    def _present(self, user: Any) -> U: ...

    @off_loop
    def find_user_by_email(self, email: str) -> U | None:
        """Return the user with this address in any case, or None.

        Raise ``AccountNotLinkedError`` when several users have it.
        """
        user = only_user(users_with_address(self._users(self._read_alias()), email))
        return None if user is None else self._present(user)

    @off_loop
    def find_user_by_id(self, id: Any) -> U | None:  # noqa: A002
        """Return the user who may be signed in as ``id``, native or as text.

        None for an unknown or malformed id and, as in Django's ``ModelBackend.get_user``, for
        an inactive user.
        """
        pk = to_pk(self._user_model(), id)
        user = self._users(self._read_alias()).filter(pk=pk).first()
        return self._present(user) if user is not None and user.is_active else None

    @off_loop
    @sensitive_variables()
    def create_user_with_identity(
        self, *, user: UserCreate, identity: Callable[[U], SocialAccountCreate]
    ) -> tuple[U, SocialAccount]:
        """Create a user and the first identity, both or neither.

        ``identity`` is called once, inside the transaction, with the saved user; whatever it
        raises undoes everything and propagates. Raise ``AccountLinkedError`` when the
        identity has an owner, ``AccountNotLinkedError`` when the address has.
        """
        using = self._write_alias()
        called: list[bool] = []

        def work() -> tuple[U, SocialAccount]:
            native = self._create(
                using=using,
                email=user["email"],
                email_verified=user["email_verified"],
                user_info=user["user_info"],
                fields=user["extra_fields"],
            )
            presented = self._present(native)
            called.append(True)
            data = identity(presented)
            if to_pk(self._user_model(), data["user_id"]) != native.pk:
                raise ValueError("the identity must belong to the new user")
            return presented, attach({**data, "user_id": native.pk}, using=using)

        return in_transaction(work, using=using, may_retry=lambda: not called)

    def _create(
        self,
        *,
        using: str,
        email: str | None,
        email_verified: bool,
        fields: Mapping[str, Any] | None,
        user_info: dict[str, Any] | None = None,
        password: str | None = None,
    ) -> AbstractBaseUser:
        model = self._user_model()
        address = creation.clean_address(model, email)

        def make() -> AbstractBaseUser:
            # A factory may itself call create_user() as Django does, without user_info.
            if user_info is not None and conf.CROSSAUTH_CREATE_USER:
                return creation.make_by_factory(
                    email=address, user_info=user_info, extra_fields=fields or {}
                )
            return creation.make_plainly(
                model,
                using=using,
                email=address,
                password=password,
                fields=fields or {},
            )

        return creation.create(
            self._users(using), email=address, email_verified=email_verified, make=make
        )


class AccountsManager(AccountMethods[M], BaseUserManager[M]):
    """``objects = AccountsManager()`` makes a user model's manager an ``AccountsStorage``.

    It is Django's user manager too: ``create_user("ada@example.org", "password")``,
    ``create_superuser``, ``get_by_natural_key``. The model gets what the ``User`` protocol asks
    for and it has not: ``id`` and ``email`` where its columns have other names,
    ``email_verified``, ``hashed_password`` and a ``has_usable_password`` that can be read.
    """

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        return normalize_email(email or "")

    @off_loop
    @sensitive_variables("args", "fields", "password")
    def create_user(
        self,
        *args: Any,
        user_info: dict[str, Any] | None = None,
        email: str | None = None,
        email_verified: bool = False,
        extra_fields: Mapping[str, Any] | None = None,
        password: str | None = None,
        **fields: Any,
    ) -> M:
        """Create a user, for Django's callers and for the protocol's.

        Positional are the username (where it is not the address), the address and the
        password, as in Django. A second user with an address is refused with
        ``AccountNotLinkedError``.
        """
        using = self._write_alias()
        fields |= dict(zip(self._positional(len(args)), args, strict=False))
        # The model may call its address otherwise.
        email = fields.pop(self.model.get_email_field_name(), email)
        password = fields.pop("password", password)
        fields |= extra_fields or {}

        def work() -> Any:
            return self._create(
                using=using,
                email=email,
                email_verified=email_verified,
                user_info=user_info,
                password=password,
                fields=fields,
            )

        user: M = in_transaction(work, using=using)
        return user

    def create_superuser(self, *args: Any, **fields: Any) -> M:
        """Create a user who may do everything; the arguments are ``create_user``'s."""
        for name in ("is_staff", "is_superuser"):
            if fields.setdefault(name, True) is not True:
                raise ValueError(f"a superuser has {name}=True")
        return self.create_user(*args, **fields)

    async def acreate_user(self, *args: Any, **fields: Any) -> M:
        """Create a user, see ``create_user``."""
        return await sync_to_async(self.create_user)(*args, **fields)

    async def acreate_superuser(self, *args: Any, **fields: Any) -> M:
        """Create a user who may do everything, see ``create_superuser``."""
        return await sync_to_async(self.create_superuser)(*args, **fields)

    def get_by_natural_key(self, username: str | None) -> M:
        """Return the user who signs in as ``username``; an address in any case."""
        if username_field(self.model) != self.model.get_email_field_name():
            return super().get_by_natural_key(username)
        found = users_with_address(self._users(self.db), username)
        exact = [user for user in found if user.get_username() == username]
        if len(exact or found) != 1:
            raise self.model.DoesNotExist
        user: M = (exact or found)[0]
        return user

    async def aget_by_natural_key(self, username: str | None) -> M:
        """Return the user who signs in as ``username``, see ``get_by_natural_key``."""
        return await sync_to_async(self.get_by_natural_key)(username)

    def _positional(self, count: int) -> list[str]:
        names = (
            username_field(self.model),
            self.model.get_email_field_name(),
            "password",
        )
        distinct = list(dict.fromkeys(names))
        if count > len(distinct):
            raise TypeError(f"create_user() takes {distinct} by position")
        return distinct[:count]

    def _user_model(self) -> type[AbstractBaseUser]:
        return self.model

    def _read_alias(self) -> str:
        return self.db

    def _write_alias(self) -> str:
        return self._db or router.db_for_write(self.model)

    def _users(self, using: str) -> models.QuerySet[Any]:
        return with_record(self.using(using))

    def _present(self, user: Any) -> M:
        return user  # type: ignore[no-any-return]


def with_record(users: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Load with each user which address was verified, in the same query."""
    if not has_record(users.model):
        return users
    loaded: models.QuerySet[Any] = users.select_related("crossauth_verified_email")
    return loaded


def _complete(sender: type[models.Model], **kwargs: Any) -> None:
    # Not in contribute_to_class(): fields further down in the class body would still be missing,
    # and a manager that is inherited from an abstract model is not contributed again.
    if any(isinstance(manager, AccountsManager) for manager in sender._meta.managers):
        complete(sender)


class_prepared.connect(_complete)
