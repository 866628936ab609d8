"""The mailed link by which an owner ends a lock that somebody's guesses began."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.urls import reverse
from django.utils import translation

from crossauth_django import emails, limits, lockout, tokens
from crossauth_django.conf import conf
from crossauth_django.exceptions import AccountNotLinkedError, StoreUnavailableError
from crossauth_django.limits import limit_of
from crossauth_django.storage import AccountsStorage

logger = logging.getLogger("crossauth_django.lockout")

PURPOSE = "unlock_sign_in"


def mail_link(login: str, subjects: tuple[str, ...], base_url: str) -> None:
    """Mail the owner of ``login`` a link that forgets ``subjects``; nobody else gets anything.

    They are about the name: the lock of an address is everybody's behind it, and no owner's.
    Call it when the answer has been sent: how long it takes tells whether there is an owner.
    Silent for an unknown name, beyond the limit of mails, and when a server is down (logged).
    The link lives as long as a lock can, and its GET changes nothing.
    """
    try:
        user, address = _owner(login)
        if user is None or not _may_be_sent(address):
            return
        token = tokens.issue(
            PURPOSE,
            user,
            conf.CROSSAUTH_LOCKOUT_MAX,
            subjects=list(subjects),
            name=login,
        )
        # Who guesses chooses the language of the answer, and not of somebody else's mail.
        with translation.override(settings.LANGUAGE_CODE):
            url = base_url + reverse("crossauth:unlock", args=[token])
            context = {"url": url, "user": user, "site": base_url}
            emails.send("unlock", address, context)
    except (StoreUnavailableError, OSError) as error:
        logger.error("No link to end a lock was mailed: %s", error)  # noqa: TRY400


def unlock(token: str) -> tuple[AbstractBaseUser, list[str]]:
    """Spend a mailed link and return the user whom it unlocks, and under which names.

    These are the username, and what was typed when the lock began: an address, on some sites.
    Raise ``InvalidTokenError`` unless it is good, and ``StoreUnavailableError`` while the cache is
    down: then the link can be tried again.
    """
    found = tokens.peek(PURPOSE, token)
    name = str(found.user.get_username() or "")
    subjects = found.payload["subjects"]
    lockout.forget(subjects, username=lockout.normalised(name))
    # Last: with a cache that dies before, the link is good for another try, and to forget twice
    # what is forgotten is nothing.
    tokens.redeem(PURPOSE, token)
    return found.user, [name, found.payload["name"]]


def require_good(token: str) -> None:
    """Raise ``InvalidTokenError`` unless a mailed link would unlock; spend nothing."""
    tokens.peek(PURPOSE, token)


def _owner(login: str) -> tuple[Any, str]:
    user = _named(login)
    if user is None or not user.is_active:
        return None, ""
    address = getattr(user, user.get_email_field_name(), None)
    return (user, str(address)) if address else (None, "")


def _named(login: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(login)
    except (model.DoesNotExist, ValueError):
        pass  # Some sites sign in by address too.
    try:
        found = AccountsStorage().find_user_by_email(login)
    except AccountNotLinkedError:
        return None
    return _respelled(login) if found is None else found.native


def _respelled(login: str) -> Any:
    """Return whom the lock is about when its last guess was spelt otherwise; no two of them."""
    model = get_user_model()
    field = f"{model.USERNAME_FIELD}__iexact"
    try:
        named = model._default_manager.filter(**{field: lockout.normalised(login)})[:2]
        found = list(named)
    except ValueError:
        return None
    return found[0] if len(found) == 1 else None


def _may_be_sent(address: str) -> bool:
    limit = limit_of("lockout_unlock_email")
    usage = limits.take("lockout_unlock_email", lockout.normalised(address), limit)
    return usage is None or usage.is_allowed
