"""Errors that are ours and, beside cross-auth, also the library's."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossauth_django.exceptions import AccountError


def refusal(kind: type[AccountError], reason: str) -> AccountError:
    """Return an error to raise.

    Where cross-auth is loaded it is a ``CrossAuthException`` too, with the code as its first
    argument, so that the library answers 400 and not 500. The library is never imported here.
    """
    exceptions = sys.modules.get("cross_auth.exceptions")
    theirs = getattr(exceptions, "CrossAuthException", None)
    if theirs is None:
        return kind(reason)
    both: Any = kind
    return _combined(both, theirs)(kind.code, reason)


@functools.cache
def _combined(kind: Any, theirs: type[Exception]) -> type[AccountError]:
    # Theirs by name: ValueError, which some of ours are, has one too and comes first.
    members = {"__module__": kind.__module__, "__init__": theirs.__init__}
    return type(kind.__name__, (kind, theirs), members)
