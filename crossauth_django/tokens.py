"""Single-use tokens for mailed links: issued to one user, for one purpose, spent once."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connections, router
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from crossauth_django.crypto import keyed_digest, new_secret, seal, unseal
from crossauth_django.exceptions import EncryptionError, InvalidTokenError
from crossauth_django.stores import get_store
from crossauth_django.stores.base import Outcome, Step, Write

# What new_secret() makes. Anything else is refused before it is hashed or sent anywhere.
_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

# A generation outlives its tokens by more than a slow round trip and a rounded lifetime.
_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Redeemed:
    """What a token stood for; ``payload`` is what ``issue`` was given by keyword."""

    user: AbstractBaseUser
    purpose: str
    payload: dict[str, Any] = field(default_factory=dict)


@sensitive_variables()
def issue(purpose: str, user: AbstractBaseUser, ttl: timedelta, **payload: Any) -> str:
    """Return a new token of 43 URL-safe characters, good for one ``redeem`` within ``ttl``.

    It dies early when the user's password hash, e-mail or ``is_active`` changes, when the row
    goes, and by ``revoke``. ``payload`` is anything that JSON holds. At rest are a digest of the
    token and a ciphertext that only the token opens: a dump shows neither user nor address, and
    who writes to the cache cannot make a token (ASVS 6.4.1, 11.5.1).
    """
    token, lifetime = new_secret(), _milliseconds(ttl)
    generation = get_store().step(
        _GENERATION,
        [_generation_key(purpose, *_reference(user))],
        [new_secret(), lifetime],
    )
    sealed = _sealed(purpose, token, user, str(generation[0]), payload)
    get_store().set(_key(purpose, token), sealed, ttl.total_seconds())
    return token


@sensitive_variables()
async def aissue(
    purpose: str, user: AbstractBaseUser, ttl: timedelta, **payload: Any
) -> str:
    """Do what ``issue`` does, without blocking the event loop."""
    token, lifetime = new_secret(), _milliseconds(ttl)
    generation = await get_store().astep(
        _GENERATION,
        [_generation_key(purpose, *_reference(user))],
        [new_secret(), lifetime],
    )
    sealed = _sealed(purpose, token, user, str(generation[0]), payload)
    await get_store().aset(_key(purpose, token), sealed, ttl.total_seconds())
    return token


@sensitive_variables()
def redeem(purpose: str, token: str) -> Redeemed:
    """Spend the token: exactly one of many callers, in any process, gets what it stood for.

    Raise ``InvalidTokenError`` for everybody else, and alike for a token that is unknown,
    expired, malformed, revoked, or older than a change of its user. Another purpose does not
    spend it. ``StoreUnavailableError`` leaves open whether the token is spent.
    """
    return _read(purpose, token, get_store().pop(_key(purpose, token)))


@sensitive_variables()
async def aredeem(purpose: str, token: str) -> Redeemed:
    """Do what ``redeem`` does, without blocking the event loop."""
    return await _aread(purpose, token, await get_store().apop(_key(purpose, token)))


@sensitive_variables()
def peek(purpose: str, token: str) -> Redeemed:
    """Return what ``redeem`` would, and change nothing.

    For the page behind a mailed link: scanners and previews open it too, so that its GET shows
    a form and only the form's POST redeems (ASVS 3.5.3).
    """
    return _read(purpose, token, get_store().get(_key(purpose, token)))


@sensitive_variables()
async def apeek(purpose: str, token: str) -> Redeemed:
    """Do what ``peek`` does, without blocking the event loop."""
    return await _aread(purpose, token, await get_store().aget(_key(purpose, token)))


def revoke(purpose: str, user: AbstractBaseUser) -> None:
    """Kill every token that ``user`` holds for ``purpose``, in one step however many.

    Tokens issued after the call are good; of those issued during it, either may be true.
    """
    # Each token names its generation, and a generation that is forgotten, be it by this or by a
    # server that lost its memory, never comes back.
    get_store().delete(_generation_key(purpose, *_reference(user)))


async def arevoke(purpose: str, user: AbstractBaseUser) -> None:
    """Do what ``revoke`` does, without blocking the event loop."""
    await get_store().adelete(_generation_key(purpose, *_reference(user)))


def _generation(
    values: Sequence[str | None], now: int, arguments: Sequence[str]
) -> Outcome:
    name, expires = arguments[0], now + int(arguments[1])
    if values[0] is not None:
        until, _, name = values[0].partition(":")
        expires = max(expires, int(until))
    return Outcome([name], {0: Write(f"{expires}:{name}", expires - now)})


_GENERATION = Step("token_generation", _generation)


@dataclass(frozen=True)
class _Claims:
    database: str
    user_id: str
    generation: str
    fingerprint: str
    payload: dict[str, Any]

    def users(self) -> QuerySet[AbstractBaseUser]:
        # Never a replica: it may not have heard yet of the change that killed the token.
        users: QuerySet[AbstractBaseUser] = get_user_model()._default_manager.using(
            self.database
        )
        return users


def _read(purpose: str, token: str, sealed: str | None) -> Redeemed:
    claims = _claims(purpose, token, sealed)
    key = _generation_key(purpose, claims.database, claims.user_id)
    generation = get_store().get(key)
    user = claims.users().filter(pk=claims.user_id).first()
    return _redeemed(purpose, token, claims, generation, user)


@sensitive_variables()
async def _aread(purpose: str, token: str, sealed: str | None) -> Redeemed:
    claims = _claims(purpose, token, sealed)
    key = _generation_key(purpose, claims.database, claims.user_id)
    generation = await get_store().aget(key)
    user = await claims.users().filter(pk=claims.user_id).afirst()
    return _redeemed(purpose, token, claims, generation, user)


def _claims(purpose: str, token: str, sealed: str | None) -> _Claims:
    if sealed is None:
        raise InvalidTokenError("unknown, used or expired")
    try:
        claims = _Claims(**json.loads(unseal(_label(purpose), token, sealed)))
    except EncryptionError as error:
        raise InvalidTokenError("not sealed by this site") from error
    if claims.database not in connections:
        raise InvalidTokenError("the users' database is no more")
    return claims


def _redeemed(
    purpose: str,
    token: str,
    claims: _Claims,
    generation: str | None,
    user: AbstractBaseUser | None,
) -> Redeemed:
    if generation is None or generation.partition(":")[2] != claims.generation:
        raise InvalidTokenError("revoked")
    if user is None:
        raise InvalidTokenError("the user is gone")
    if not secrets.compare_digest(_fingerprint(token, user), claims.fingerprint):
        raise InvalidTokenError("the user changed")
    return Redeemed(user, purpose, claims.payload)


def _sealed(
    purpose: str,
    token: str,
    user: AbstractBaseUser,
    generation: str,
    payload: dict[str, Any],
) -> str:
    database, user_id = _reference(user)
    claims = {
        "database": database,
        "user_id": user_id,
        "generation": generation,
        "fingerprint": _fingerprint(token, user),
        "payload": payload,
    }
    return seal(_label(purpose), token, json.dumps(claims))


def _reference(user: AbstractBaseUser) -> tuple[str, str]:
    if user.pk is None:
        raise ValueError("a user without a primary key gets no token")
    # By _meta, not by type(): request.user is a lazy object.
    meta = user._meta
    return router.db_for_write(meta.model, instance=user), meta.pk.value_to_string(user)


def _fingerprint(token: str, user: AbstractBaseUser) -> str:
    """Digest what a token authorises; the token is the key, so that no two digests compare."""
    email = getattr(user, user.get_email_field_name(), None)
    state = [user.password, email or "", bool(user.is_active)]
    return keyed_digest("token.user", json.dumps(state), key=token)


def _key(purpose: str, token: object) -> str:
    # The purpose is in the key, so that the wrong one finds nothing and spends nothing.
    if not isinstance(token, str) or not _FORM.fullmatch(token):
        raise InvalidTokenError("malformed")
    return f"token:{purpose}:{token}"


def _generation_key(purpose: str, database: str, user_id: str) -> str:
    return f"token-generation:{purpose}:{database}:{user_id}"


def _label(purpose: str) -> str:
    return f"token.{purpose}"


def _milliseconds(ttl: timedelta) -> int:
    if ttl <= timedelta():
        raise ValueError("a token needs a lifetime")
    return (ttl + _MARGIN) // timedelta(milliseconds=1)
