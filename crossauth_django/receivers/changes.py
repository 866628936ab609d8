"""A user is saved, deleted or claimed: sessions end, and browsers become strangers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeGuard

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, router
from django.db.models import Q

from crossauth_django.conf import conf
from crossauth_django.managers import credentials, users
from crossauth_django.managers.transactions import after_commit
from crossauth_django.models import UserSession

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

    from crossauth_django.sessions import SessionStore

# What Django saves of the user at each sign-in, and nothing here has to do with.
_SIGN_IN = frozenset({"last_login"})


def look_at_user_before_change(
    sender: type[models.Model],
    instance: models.Model,
    *,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **kwargs: Any,
) -> None:
    """See to what only the stored user tells."""
    if raw or update_fields == _SIGN_IN or not _is_user(instance, using):
        return
    # A project's own "verified" flag goes with the address that it was set for.
    fields = {users.verified_flag(type(instance)), instance.get_email_field_name()}
    if update_fields is None or not fields.isdisjoint(update_fields):
        users.check_flag(instance, using=using)
    look_at_credentials(instance, using, update_fields)


def look_at_credentials(
    instance: AbstractBaseUser, using: str, update_fields: Collection[str] | None
) -> None:
    """Tell another password or address from the one that is stored.

    A renewed hash is no other password. A session that has not moved in has no row that says
    what it began with, so there is one more query while there is a previous engine.
    """
    saved = credentials.saved_fingerprints(instance, update_fields)
    is_renewal = credentials.may_be_renewal(instance, update_fields)
    has_previous = conf.CROSSAUTH_SESSION_PREVIOUS_ENGINE is not None
    if not saved or not (is_renewal or has_previous):
        return
    stored = type(instance)._base_manager.using(using).filter(pk=instance.pk).first()
    if stored is None:
        return
    before = credentials.saved_fingerprints(stored, update_fields)
    if is_renewal and credentials.is_outdated(stored.password):
        (old,), (new,) = before.values(), saved.values()
        UserSession.objects.password_renewed(instance.pk, old, new)
    elif before != saved:
        UserSession.objects.refuse_previous(instance.pk)


def follow_saved_user(
    sender: type[models.Model],
    instance: models.Model,
    *,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **kwargs: Any,
) -> None:
    """Keep for which address a project's own "verified" flag is set, and end sessions."""
    if raw or not _is_user(instance, using):
        return
    # At a sign-in, too: the flag may have been set past the model's save().
    users.note_flag(instance, using=using)
    if not created and update_fields != _SIGN_IN:
        end_sessions_of_changed_user(instance, using, update_fields)


def end_sessions_of_changed_user(
    instance: AbstractBaseUser, using: str, update_fields: Collection[str] | None
) -> None:
    """End the others after another password or address, and all of a user who is disabled."""
    if credentials.is_new_password(instance, update_fields):
        forget_devices_of(instance, using)
    is_flag_saved = update_fields is None or "is_active" in update_fields
    if is_flag_saved and not instance.is_active:
        UserSession.objects.end_all(instance.pk, "user_disabled")
    elif saved := credentials.saved_fingerprints(instance, update_fields):
        session = _current_session_of(instance)
        spared = None
        if session is not None:
            session.follow(saved)
            spared = session.digest if session.has_row else None
        UserSession.objects.credentials_changed(instance.pk, saved, spared=spared)


def forget_devices_of(
    user: AbstractBaseUser, using: str, *, is_deleted: bool = False
) -> None:
    """Make strangers of the browsers where another password has signed in, on commit.

    Not of the one in which the user changes it: whoever guesses at the name at that time would
    keep its owner out there from now on.
    """
    from crossauth_django import lockout

    owner = lockout.owner_of(user)
    if is_deleted:
        # No password has this fingerprint. The name may be another's next.
        owner = owner._replace(password="")
    request = lockout.request_under_way()
    is_theirs = _is_of(getattr(request, "session", None), user)

    def forget() -> None:
        lockout.password_is(owner)
        if request is not None and is_theirs:
            lockout.sign_ins(request).password_changed(owner)

    after_commit(forget, using=using)


def end_sessions_of_deleted_user(
    sender: type[models.Model], instance: models.Model, *, using: str, **kwargs: Any
) -> None:
    """Forget the copies, and the user's browsers; the rows go with the user."""
    if _is_user(instance, using):
        rows = UserSession.objects.primary().filter(user_id=instance.pk)
        # Django's transaction begins here. On SQLite one that has read cannot wait for a writer.
        rows.forget(rows.change({}, where=Q()), buries=True)
        forget_devices_of(instance, using, is_deleted=True)


def end_sessions_of_claimed_account(user: AbstractBaseUser, **kwargs: Any) -> None:
    from crossauth_django import devices

    devices.revoke_all(user, reason="oauth_account_claimed")


def _is_user(instance: models.Model, using: str) -> TypeGuard[AbstractBaseUser]:
    """Say whether it is a user of the site: in another database the key is a stranger's."""
    model = get_user_model()
    is_user = isinstance(instance, AbstractBaseUser) and isinstance(instance, model)
    return is_user and using == router.db_for_write(model)


def _current_session_of(user: AbstractBaseUser) -> SessionStore | None:
    """Return the session of the request under way when it is this user's, or becomes it."""
    from crossauth_django.sessions import current_session

    session = current_session()
    return session if _is_of(session, user) else None


def _is_of(session: SessionBase | None, user: AbstractBaseUser) -> bool:
    owner = user._meta.pk.value_to_string(user)
    return session is not None and session.get(SESSION_KEY) == owner
