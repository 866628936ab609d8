"""Dotted paths in settings: what they name, and what that is a subclass of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string


def load(path: object) -> Any | None:
    """Return what a dotted path names, or None when it cannot be imported."""
    if str(path).startswith("."):
        return None  # relative to nothing: import_module() has other errors for that
    try:
        return import_string(str(path))
    except (ImportError, ImproperlyConfigured):
        return None


def ancestry(path: object) -> list[str]:
    """Return the dotted names of the class that ``path`` names and of its bases, nearest first.

    Compared by name, the class that is looked for need not be imported itself.
    """
    bases = getattr(load(path), "__mro__", ())
    return [f"{base.__module__}.{base.__qualname__}" for base in bases]


def is_listed(wanted: str, paths: Iterable[object]) -> bool:
    """Say whether ``paths`` names the class ``wanted`` or a subclass of it."""
    return any(wanted in ancestry(path) for path in paths)
