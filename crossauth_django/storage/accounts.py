"""The ``AccountsStorage`` protocol over an untouched user model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, router

from crossauth_django.eventloop import off_loop
from crossauth_django.managers import users
from crossauth_django.managers.accounts import AccountMethods, with_record
from crossauth_django.managers.attributes import Attribute
from crossauth_django.managers.transactions import in_transaction


class UserView:
    """What the ``User`` protocol says about ``native``, the user model's own instance."""

    id = Attribute[Any](lambda view: view.native.pk)
    # Declared as cross-auth 0.12 wants it; None when blank.
    email = Attribute[str](lambda view: users.email_of(view.native))  # type: ignore[arg-type, return-value]
    email_verified = Attribute[bool](lambda view: users.is_email_verified(view.native))
    hashed_password = Attribute["str | None"](
        lambda view: users.hashed_password(view.native)
    )
    has_usable_password = Attribute[bool](
        lambda view: users.is_password_way_in(view.native)
    )

    def __init__(self, native: Any) -> None:
        self.native = native

    @property
    def social_accounts(self) -> Any:
        """The related manager of the user's connections; it can be iterated."""
        return self.native.social_accounts

    def __repr__(self) -> str:
        return f"<UserView: {self.native.pk!r}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UserView):
            return bool(self.native == other.native)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.native)


class AccountsStorage(AccountMethods[UserView]):
    """The accounts of ``AUTH_USER_MODEL``, whatever model that is.

    It has no state: any number of instances may be used on any thread, and every method may
    be called on a running event loop. Reads and writes go to the databases that the
    routers choose for the user model.

    Writes join a transaction that is open. Under ``ATOMIC_REQUESTS`` cross-auth 0.41 therefore
    refuses to sign in with a cookie: ``on_commit`` would come after its answer. An
    identity has one owner, so its ``allow_shared_connections`` stays off.
    """

    @off_loop
    def create_user(
        self,
        *,
        user_info: dict[str, Any],
        email: str,
        email_verified: bool,
        extra_fields: Mapping[str, Any] | None = None,
    ) -> UserView:
        """Create a user without a password.

        Raise ``AccountNotLinkedError`` when somebody has the address, also when they got it
        at the same moment, and ``TypeError`` for fields that the model has not.
        """
        using = self._write_alias()

        def work() -> UserView:
            user = self._create(
                using=using,
                email=email,
                email_verified=email_verified,
                user_info=user_info,
                fields=extra_fields,
            )
            return self._present(user)

        return in_transaction(work, using=using)

    def _user_model(self) -> type[AbstractBaseUser]:
        return get_user_model()

    def _read_alias(self) -> str:
        return router.db_for_read(get_user_model())

    def _write_alias(self) -> str:
        return router.db_for_write(get_user_model())

    def _users(self, using: str) -> models.QuerySet[Any]:
        return with_record(get_user_model()._default_manager.using(using))

    def _present(self, user: Any) -> UserView:
        return UserView(user)
