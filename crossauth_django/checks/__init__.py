"""System checks, one module per concern: they read settings and open no connection.

Every id that is in use; take the next free one of your block.

E001 caches        CROSSAUTH_CACHE_ALIAS names no alias
E002 caches        the cache is file-based or a dummy
E003 caches        the cache backend is unknown or cannot be imported
E004 caches        several workers, each with a memory cache of its own
E005 installation  an app that this one needs is not installed
E006 installation  a middleware is missing
E007 installation  the authentication backend for providers is missing
E008 installation  a path in MIDDLEWARE or AUTHENTICATION_BACKENDS cannot be imported, or no list is there
E009 settings      a setting has the wrong type or an impossible value
E010 settings      a CROSSAUTH_ name that is no setting
E011 settings      the field for email_verified is no BooleanField of the user model
E012 settings      CROSSAUTH_CREATE_USER cannot be imported
E013 settings      CROSSAUTH_ENCRYPTION_KEYS are missing, malformed or SECRET_KEY
E014 settings      CROSSAUTH_PROVIDERS is incomplete
W001 caches        the cache is in the process's memory (``check --deploy``)
W002 caches        MAX_ENTRIES throws live state away
W003 caches        IGNORE_EXCEPTIONS
W004 caches        DatabaseCache on SQLite joins the caller's transaction
W005 installation  the URLs that providers need are in no URLconf
E040 lockout       LockoutBackend is not the first backend
E041 lockout       LockoutMiddleware is missing
E042 lockout       CROSSAUTH_RATE_LIMITS has an unknown action or no limit
E043 lockout       the cache cannot make a step
E044 lockout       the unlock page is in no URLconf
E045 lockout       ATOMIC_REQUESTS rolls counts back that a DatabaseCache on SQLite keeps
E046 lockout       unlock mails are on, and the user model has no e-mail field
W040 lockout       no trusted hop, behind a proxy
W041 lockout       no socket timeout
W042 lockout       the unlock link is built from the request's Host
E020 sessions      another SESSION_ENGINE while device features are used
E021 sessions      CROSSAUTH_SESSION_PREVIOUS_ENGINE is no engine, ours, or that of signed cookies
E022 sessions      BearerTokenMiddleware stands before AuthenticationMiddleware
W020 sessions      SESSION_COOKIE_SECURE is off (``check --deploy``)
W021 sessions      SESSION_COOKIE_HTTPONLY is off
W022 sessions      SESSION_COOKIE_SAMESITE is None
W023 sessions      CSRF_USE_SESSIONS is off
W024 sessions      SESSION_COOKIE_AGE is shorter than a timeout
W025 sessions      ATOMIC_REQUESTS rolls counts of sudo back that are kept in SQLite

E020-E039, W020-W039 sessions; E040-E059, W040-W059 lockout and limits.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from django.core import checks


def register() -> None:
    """Register every check; called by ``apps.ready()``.

    A module lists its checks in ``CHECKS``, and those that only ``check --deploy`` runs in
    ``DEPLOY_CHECKS``.
    """
    checks.register(run, checks.Tags.security)
    checks.register(run_for_deployment, checks.Tags.security, deploy=True)


def run(**kwargs: Any) -> list[checks.CheckMessage]:
    """Run what every command runs first."""
    return [
        message
        for module in _modules()
        for check in module.CHECKS
        for message in check(**kwargs)
    ]


def run_for_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """Run what only ``check --deploy`` runs."""
    return [
        message
        for module in _modules()
        for check in module.DEPLOY_CHECKS
        for message in check(**kwargs)
    ]


def _modules() -> tuple[ModuleType, ...]:
    # Imported when they are first run: a web server's process sets Django up and runs none.
    from crossauth_django.checks import (
        caches,
        installation,
        lockout,
        sessions,
        settings,
    )

    return caches, installation, lockout, sessions, settings
