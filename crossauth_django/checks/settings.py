"""Every ``CROSSAUTH_*`` setting: its name, its type and what it points at.

Messages never show a value: some of them are secrets.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from crossauth_django.checks.paths import load
from crossauth_django.checks.types import described, fault
from crossauth_django.conf import Conf, conf
from crossauth_django.managers import AccountsManager
from crossauth_django.managers.users import is_flag

_PREFIX = "CROSSAUTH_"
# What a user model may already have a field for.
_MAPPABLE = ("email_verified",)
_NEW_KEY = (
    'python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"'
)


def check_types(**kwargs: Any) -> list[checks.CheckMessage]:
    """E009: each setting has the type that its property in conf.py says, and a sane value."""
    return [
        checks.Error(
            f"{name} {wrong}.",
            hint=f"Set {name} to {described(name)}. {_summary(name)}",
            id="crossauth_django.E009",
        )
        for name in _names()
        if (wrong := fault(name))
    ]


def check_names(**kwargs: Any) -> list[checks.CheckMessage]:
    """E010: a misspelt setting does nothing, and says nothing."""
    return [
        checks.Error(
            f"{name} is no setting of crossauth_django.",
            hint=_rename(name),
            id="crossauth_django.E010",
        )
        for name in sorted(dir(settings))
        if name.startswith(_PREFIX) and name not in _names()
    ]


def check_user_fields(**kwargs: Any) -> list[checks.CheckMessage]:
    """E011: a field that is no flag cannot say whether an address is verified."""
    if fault("CROSSAUTH_USER_FIELDS"):
        return []
    user, flag = settings.AUTH_USER_MODEL, _MAPPABLE[0]
    faults = [
        (
            f"CROSSAUTH_USER_FIELDS maps {name!r} to {field!r}: {wrong}.",
            f"Write CROSSAUTH_USER_FIELDS = {{{flag!r}: '<a BooleanField of {user}>'}}, or leave "
            "it out: which address was verified is then kept beside the user.",
        )
        for name, field in conf.CROSSAUTH_USER_FIELDS.items()
        if (wrong := _unmappable(name, field))
    ]
    if _is_misread(flag):
        faults += [
            (
                f"{user}.{flag} is no BooleanField, and cross-auth would take what stands there "
                "for the answer whether the address is verified.",
                f"Rename the field, or take AccountsManager() off {user} and use "
                "crossauth_django.storage.AccountsStorage().",
            )
        ]
    return [
        checks.Error(message, hint=hint, id="crossauth_django.E011")
        for message, hint in faults
    ]


def check_create_user(**kwargs: Any) -> list[checks.CheckMessage]:
    """E012: the first stranger who signs up would find out."""
    path = conf.CROSSAUTH_CREATE_USER
    if path is None or fault("CROSSAUTH_CREATE_USER") or callable(load(path)):
        return []
    return [
        checks.Error(
            f"CROSSAUTH_CREATE_USER is {path!r}, which is nothing that can be called.",
            hint="Set it to the dotted path of a function, like 'accounts.users.create', that "
            "takes the keywords email, user_info and extra_fields and returns a saved user.",
            id="crossauth_django.E012",
        )
    ]


def check_encryption_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    """E013: keys that are missing, malformed, or SECRET_KEY again (ASVS 11.2, 13.3)."""
    if fault("CROSSAUTH_ENCRYPTION_KEYS"):
        return []
    keys = conf.CROSSAUTH_ENCRYPTION_KEYS
    faults = [
        (f"Key {position} of CROSSAUTH_ENCRYPTION_KEYS {wrong}.")
        for position, key in enumerate(keys, 1)
        if (wrong := _unusable(key))
    ]
    if conf.CROSSAUTH_STORE_PROVIDER_TOKENS and not keys:
        faults = [
            "CROSSAUTH_STORE_PROVIDER_TOKENS needs a key in CROSSAUTH_ENCRYPTION_KEYS."
        ]
    hint = f"Make a key with {_NEW_KEY} and put it first in CROSSAUTH_ENCRYPTION_KEYS."
    return [
        checks.Error(message, hint=hint, id="crossauth_django.E013")
        for message in faults
    ]


def check_providers(**kwargs: Any) -> list[checks.CheckMessage]:
    """E014: what each provider needs, and what it does not know."""
    if fault("CROSSAUTH_PROVIDERS") or not conf.CROSSAUTH_PROVIDERS:
        return []
    # A site that uses no provider does not load any.
    from crossauth_django.oauth import registry

    return [
        checks.Error(
            problem,
            hint="Correct that entry: CROSSAUTH_PROVIDERS = {'google': {'client_id': '...', "
            "'client_secret': '...'}, ...}.",
            id="crossauth_django.E014",
        )
        for problem in registry.problems()
    ]


CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = (
    check_types,
    check_names,
    check_user_fields,
    check_create_user,
    check_encryption_keys,
    check_providers,
)
DEPLOY_CHECKS: tuple[Callable[..., list[checks.CheckMessage]], ...] = ()


def _names() -> list[str]:
    return [name for name in vars(Conf) if name.startswith(_PREFIX)]


def _summary(name: str) -> str:
    return (inspect.getdoc(getattr(Conf, name)) or "").partition("\n")[0]


def _rename(name: str) -> str:
    # What they all begin with would make them all look alike.
    known = {each.removeprefix(_PREFIX): each for each in _names()}
    nearest = difflib.get_close_matches(name.removeprefix(_PREFIX), known, n=1)
    return f"Rename it to {known[nearest[0]]}." if nearest else "Remove it."


def _unmappable(name: str, field: str) -> str | None:
    if name not in _MAPPABLE:
        return f"only {', '.join(map(repr, _MAPPABLE))} can be mapped"
    model = _user_model()
    if model is None or is_flag(model, field):
        return None
    return f"{settings.AUTH_USER_MODEL} has no BooleanField of that name"


def _is_misread(name: str) -> bool:
    """Say whether users are handed to cross-auth themselves, with a field that is no flag."""
    model = _user_model()
    if model is None or is_flag(model, name):
        return False
    fields = {field.name for field in model._meta.get_fields()}
    managers = model._meta.managers
    is_ours = any(isinstance(manager, AccountsManager) for manager in managers)
    return is_ours and name in fields


def _user_model() -> Any:
    """None where Django's own checks have to speak about AUTH_USER_MODEL."""
    try:
        return get_user_model()
    except ImproperlyConfigured:
        return None


def _unusable(key: str) -> str | None:
    try:
        raw = base64.urlsafe_b64decode(key)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        return "is not 32 bytes, base64url-encoded"
    if raw in {
        made
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        for made in _derived(secret)
    }:
        return "is made from SECRET_KEY: who learns one has both"
    return None


def _derived(secret: str | bytes) -> list[bytes]:
    """Return what recipes on the web make of SECRET_KEY when Fernet wants 32 bytes."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    return [
        raw[:32],
        raw.ljust(32, b"0")[:32],
        raw.ljust(32, b"\0")[:32],
        hashlib.sha256(raw).digest(),
        hashlib.sha256(raw).hexdigest()[:32].encode(),
        hashlib.md5(raw, usedforsecurity=False).hexdigest().encode(),
        _decoded(raw),
    ]


def _decoded(raw: bytes) -> bytes:
    """SECRET_KEY may be a Fernet key itself."""
    try:
        return base64.urlsafe_b64decode(raw)
    except ValueError:
        return b""
