"""Whether a setting's value fits the type of its property in ``conf.py``."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Union

from django.conf import settings

from crossauth_django.conf import GRACE_MS, LONGEST, Conf

# Durations of which none is a meaning: the feature is off.
_MAY_BE_ZERO = ("CROSSAUTH_DEVICE_COOKIE_AGE", "CROSSAUTH_SESSION_TOUCH_INTERVAL")
# Of these, 0 would let nobody in.
_AT_LEAST_ONE = ("CROSSAUTH_MAX_SESSIONS_PER_USER", "CROSSAUTH_SUDO_ATTEMPTS")
# Shorter ones turn the lockout off without a word: an answer's ``Retry-After`` is in whole seconds,
# and a lock begins when its budget has been full for GRACE_MS, all within one window.
_SECOND = timedelta(seconds=1)
_AT_LEAST = {
    "CROSSAUTH_LOCKOUT_WINDOW": timedelta(milliseconds=GRACE_MS) + _SECOND,
    "CROSSAUTH_LOCKOUT_BASE": _SECOND,
    "CROSSAUTH_LOCKOUT_MAX": _SECOND,
}
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    str: "text in quotes",
    timedelta: "a duration like timedelta(minutes=10)",
    type(None): "None",
}


def fault(name: str) -> str | None:
    """Say what is wrong with the value of a setting; None when nothing is, or when it is not set."""
    if not hasattr(settings, name):
        return None
    value, hint = getattr(settings, name), _hint(name)
    if not _fits(value, hint):
        kind = typing.get_origin(hint)
        is_kind = kind in (Mapping, Sequence) and isinstance(value, kind)
        items = (
            " with items of another kind"
            if is_kind and not isinstance(value, str)
            else ""
        )
        return f"cannot be of type {type(value).__name__}{items}"
    if isinstance(value, timedelta):
        return _odd(value, name)
    if type(value) is int and value < 0:
        return "must not be negative"
    if type(value) is int and not value and name in _AT_LEAST_ONE:
        return "must be at least 1"
    if name == "CROSSAUTH_BASE_URL" and value is not None and not _is_origin(value):
        return "is not a scheme and a host alone, like 'https://example.org'"
    return None


def described(name: str) -> str:
    """Say what a setting may be, in words to type from."""
    if name == "CROSSAUTH_BASE_URL":
        return "'https://' and the host, without a path"
    return _described(_hint(name))


def _odd(length: timedelta, name: str) -> str | None:
    if length > LONGEST:
        return "must be at most ten years"
    if name in _AT_LEAST and length < _AT_LEAST[name]:
        return f"must be at least {_AT_LEAST[name].seconds} s"
    if length > timedelta() or (name in _MAY_BE_ZERO and not length):
        return None
    return "must be longer than 0"


def _hint(name: str) -> Any:
    return typing.get_type_hints(getattr(Conf, name).fget)["return"]


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is Mapping:
        return "a dict"
    if origin is Sequence:
        return f"a list, each item {_described(arguments[0])}"
    return _WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1])
            for key, item in value.items()
        )
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(
            _fits(item, arguments[0]) for item in value
        )
    if hint is int:
        return type(value) is int  # True is an int to isinstance()
    return isinstance(value, origin or hint)


def _is_origin(url: str) -> bool:
    from django.http.request import host_validation_re

    # Whatever else the text holds (a path, a user, a space) would end up in every link.
    scheme, _, host = url.lower().partition("://")
    return scheme in ("http", "https") and bool(host_validation_re.fullmatch(host))
