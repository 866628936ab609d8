"""A request begins and ends, somebody signs in, fails to, or signs out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.forms import CheckboxInput
from django.http import HttpRequest

from crossauth_django.exceptions import StoreUnavailableError

logger = logging.getLogger("crossauth_django.lockout")

# The checkbox of a sign-in form, whichever form it is.
REMEMBER_FIELD = "remember_me"


def expect_session(**kwargs: Any) -> None:
    from crossauth_django.sessions.current import start_of_request

    start_of_request(kwargs.get("environ"), kwargs.get("scope"))


def forget_session(**kwargs: Any) -> None:
    from crossauth_django.sessions.current import end_of_request

    end_of_request()


def take_sign_in_over(
    request: HttpRequest | None, user: AbstractBaseUser, **kwargs: Any
) -> None:
    """Rotate the key, note the browser, and honour ``remember_me`` in any sign-in form."""
    from crossauth_django.sessions import SessionStore
    from crossauth_django.sessions.clients import client_of

    session = getattr(request, "session", None)
    if request is None or not isinstance(session, SessionStore):
        return
    session.signed_in(user, client_of(request.META))
    # As Django reads a checkbox: "false" means no.
    checkbox = CheckboxInput()
    if request.method == "POST" and checkbox.value_from_datadict(
        request.POST, request.FILES, REMEMBER_FIELD
    ):
        session.remember()


def settle_sign_in(
    request: HttpRequest | None, user: AbstractBaseUser, **kwargs: Any
) -> None:
    """Give the attempt back that led to this sign-in, and forget the failures before it."""
    from crossauth_django import lockout

    found = lockout.django_request(request)
    if found is None:
        return
    owner = lockout.owner_of(user)
    address = getattr(user, user.get_email_field_name(), None)
    # Either may be NULL, which is nobody's name.
    names = [str(user.get_username() or ""), address or ""]
    attempt = lockout.sign_ins(found).succeeded(names, owner)
    if attempt is None:
        return
    try:
        lockout.clear(attempt)
    except StoreUnavailableError as error:
        logger.warning("A sign-in stays counted as a failure: %s", error)
    if attempt.was_forgotten:
        # Also where the password was changed past the model's save().
        lockout.password_is(owner)


def leave_attempt_counted(
    credentials: Mapping[str, Any], request: object = None, **kwargs: Any
) -> None:
    """Let a failed attempt count; one without a request has not been counted yet."""
    from crossauth_django import lockout

    name = lockout.name_in(credentials)
    found = lockout.django_request(request)
    if found is not None:
        lockout.sign_ins(found).failed(name)
    elif (judged := lockout.judged_alone(name)) is not None:
        try:
            lockout.count(judged, typed=lockout.typed_in(credentials))
        except StoreUnavailableError as error:
            logger.warning("A failed sign-in is not counted: %s", error)


def say_who_signs_out(request: HttpRequest | None, **kwargs: Any) -> None:
    from crossauth_django.sessions import SessionStore

    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.end_as("logout")
