"""What follows from what Django, or this app, says has happened; connected by ``apps.ready()``.

Lockout and sessions are imported when something happens, so that they cost no start-up time.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import (
    user_logged_in,
    user_logged_out,
    user_login_failed,
)
from django.core.signals import request_finished, request_started
from django.db import models
from django.db.models.signals import class_prepared, post_save, pre_delete, pre_save

from crossauth_django.receivers.changes import (
    end_sessions_of_claimed_account,
    end_sessions_of_deleted_user,
    follow_saved_user,
    look_at_user_before_change,
)
from crossauth_django.receivers.signing_in import (
    expect_session,
    forget_session,
    leave_attempt_counted,
    say_who_signs_out,
    settle_sign_in,
    take_sign_in_over,
)
from crossauth_django.signals import account_claimed


def connect() -> None:
    """Connect everything, once."""
    for signal, receiver in (
        (request_started, expect_session),
        (request_finished, forget_session),
        (user_logged_in, take_sign_in_over),
        (user_logged_in, settle_sign_in),
        (user_login_failed, leave_attempt_counted),
        (user_logged_out, say_who_signs_out),
        (account_claimed, end_sessions_of_claimed_account),
        (class_prepared, follow_model),
    ):
        signal.connect(receiver, dispatch_uid=f"crossauth_django.{receiver.__name__}")
    # Swapped ones, because tests choose another user model.
    for model in apps.get_models(include_swapped=True):
        follow_model(model)


def follow_model(sender: type[models.Model], **kwargs: Any) -> None:
    """Connect what follows from a change of a user, where the model is one of users.

    Django names the class of the instance as the sender, so each proxy and child is one. With a
    receiver for every model Django would call it for each row of the site's that is saved, and
    read each one that it deletes.
    """
    if not issubclass(sender, AbstractBaseUser):
        return
    for signal, receiver in (
        (pre_save, look_at_user_before_change),
        (post_save, follow_saved_user),
        (pre_delete, end_sessions_of_deleted_user),
    ):
        uid = f"crossauth_django.{receiver.__name__}"
        signal.connect(receiver, sender=sender, dispatch_uid=uid)
