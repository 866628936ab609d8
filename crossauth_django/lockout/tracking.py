"""The sign-in attempts of one request, from the backend that counts to the end that settles."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from django.http import HttpRequest

from crossauth_django.lockout.names import normalised

if TYPE_CHECKING:
    from crossauth_django.exceptions import LockedOutError, StoreUnavailableError
    from crossauth_django.lockout.attempts import Attempt
    from crossauth_django.lockout.devices import Owner

# What Django puts in the place of a login field that sounds like a secret ("api_user").
_MASKED = "*" * 20


@dataclass
class SignIns:
    """What has become of the attempts; ``pending`` were counted and have not failed."""

    pending: list[Attempt] = field(default_factory=list)
    refusal: LockedOutError | StoreUnavailableError | None = None
    login: str = ""
    signed_in: dict[str, Owner] = field(default_factory=dict)

    def refused(
        self, error: LockedOutError | StoreUnavailableError, login: object
    ) -> None:
        """Note why an attempt was not made; ``login`` is the name as it was typed."""
        self.refusal, self.login = error, str(login)[:1000]

    def failed(self, name: str | None) -> None:
        """Leave the attempt on ``name`` counted: its password was wrong."""
        for attempt in reversed(self.pending):
            if name in (attempt.name, _MASKED):
                self.pending.remove(attempt)
                return

    def crashed(self) -> None:
        """Leave all counted: nobody knows whether the password was looked at."""
        self.pending.clear()

    def succeeded(self, name: str, owner: Owner) -> Attempt | None:
        """Note who has signed in; return the attempt that led to it, if there was one.

        What was refused before it, on the way, is no answer any more.
        """
        self.refusal = None
        attempt = self.pending.pop() if self.pending else None
        names = (
            [normalised(name)] if attempt is None else [attempt.name, normalised(name)]
        )
        self.signed_in.update(dict.fromkeys(names, owner))
        return attempt


# Django tells of a failure after a refusal, too; without a request nothing else says which it was.
_refused_alone: ContextVar[bool] = ContextVar(f"{__name__}.refused", default=False)


def note_alone(*, refused: bool) -> None:
    """Note whether the attempt without a request that is being made is refused."""
    _refused_alone.set(refused)


def was_refused_alone() -> bool:
    """Say whether the attempt without a request that has just failed was refused, not judged."""
    return _refused_alone.get()


_sign_ins: WeakKeyDictionary[HttpRequest, SignIns] = WeakKeyDictionary()


def sign_ins(request: HttpRequest) -> SignIns:
    """Return the request's attempts, to be added to."""
    return _sign_ins.setdefault(request, SignIns())


def sign_ins_so_far(request: HttpRequest) -> SignIns | None:
    """Return the request's attempts; None when it made none, which is the usual case."""
    return _sign_ins.get(request)


def django_request(request: object) -> HttpRequest | None:
    """Return the request of Django's that a framework's own wraps; None when there is none."""
    inner = getattr(request, "_request", request)
    return inner if isinstance(inner, HttpRequest) else None
