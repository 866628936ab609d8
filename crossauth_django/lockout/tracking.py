"""The sign-in attempts of one request, from the backend that counts to the end that settles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.http import HttpRequest

from crossauth_django.exceptions import LockedOutError, StoreUnavailableError
from crossauth_django.lockout.names import normalised

if TYPE_CHECKING:
    from crossauth_django.lockout.attempts import Attempt
    from crossauth_django.lockout.devices import Owner

# What Django puts in the place of a login field that sounds like a secret ("api_user").
_MASKED = "*" * 20

_ATTRIBUTE = "_crossauth_sign_ins"


@dataclass
class SignIns:
    """What has become of the attempts; ``pending`` were counted and have not failed.

    ``signed_in`` are the names as they stand in the account, and as they were typed. ``stopped`` is
    the name that was refused last: Django tells of a failure then, too. ``changed`` is the user whose
    own session has given them another password.
    """

    pending: list[Attempt] = field(default_factory=list)
    refusal: LockedOutError | StoreUnavailableError | None = None
    login: str = ""
    signed_in: dict[str, Owner] = field(default_factory=dict)
    stopped: str | None = None
    changed: Owner | None = None

    def counted(self, attempt: Attempt) -> None:
        self.pending.append(attempt)
        self.stopped = None

    def refused(
        self, error: LockedOutError | StoreUnavailableError, login: object
    ) -> None:
        """Note why an attempt was not made; ``login`` is the name as it was typed.

        Of several that are locked out the first that began a lock has the mail, and the longest
        wait is the answer.
        """
        self.stopped = normalised(login)
        earlier, self.refusal = self.refusal, error
        if isinstance(earlier, LockedOutError) and isinstance(error, LockedOutError):
            self.refusal = earlier.joined(error)
            if earlier.new_locks:
                return
        self.login = str(login)[:1000]

    def failed(self, name: str | None) -> None:
        """Leave the attempt on ``name`` counted: its password was wrong.

        One that was refused is none: an earlier one on that name may have been right.
        """
        stopped, self.stopped = self.stopped, None
        if stopped is not None and name in (stopped, _MASKED):
            return
        for attempt in reversed(self.pending):
            if name in (attempt.name, _MASKED):
                self.pending.remove(attempt)
                return

    def crashed(self) -> None:
        """Leave all counted: nobody knows whether the password was looked at."""
        self.pending.clear()

    def succeeded(self, names: Sequence[str], owner: Owner) -> Attempt | None:
        """Note who has signed in; return the attempt that led to it, if there was one.

        ``names`` are those that the user is known to have, the username first. An attempt on
        another one was theirs where it is the only one left. What was refused before it, on the
        way, is no answer any more.
        """
        self.refusal = None
        forms = [normalised(name) for name in names]
        theirs = [each for each in self.pending if each.name in forms]
        known = [names[0] if forms[0] else ""]
        attempt = None
        if self.pending:
            is_theirs = bool(theirs) or len(self.pending) == 1
            attempt = (theirs or self.pending)[-1]
            self.pending.remove(attempt)
            known += [attempt.typed if attempt.name else ""] * is_theirs
        self.signed_in.update(dict.fromkeys(known, owner))
        return attempt

    def password_changed(self, owner: Owner) -> None:
        """Note that the user whose session this is has another password."""
        self.changed = owner
        for name, each in self.signed_in.items():
            if each.id == owner.id:
                self.signed_in[name] = owner


# The attempt without a request that was made last, and whether it was refused: Django tells of a
# failure then, too, perhaps with the name masked, and nothing else says which it was.
_alone: ContextVar[tuple[str, bool]] = ContextVar(
    f"{__name__}.alone", default=("", False)
)


def note_alone(name: str, *, refused: bool) -> None:
    """Note that an attempt without a request is being made, or that it is refused."""
    _alone.set((name, refused))


def judged_alone(name: str | None) -> str | None:
    """Return the name to count for a failure without a request; None when it was refused.

    A backend may ask ``authenticate()`` about another name meanwhile.
    """
    noted, was_refused = _alone.get()
    if name == _MASKED:
        name = noted
    return None if was_refused and name == noted else name


def sign_ins(request: HttpRequest) -> SignIns:
    """Return the request's attempts, to be added to."""
    found: SignIns = vars(request).setdefault(_ATTRIBUTE, SignIns())
    return found


def sign_ins_so_far(request: HttpRequest) -> SignIns | None:
    """Return the request's attempts; None when it made none, which is the usual case."""
    return vars(request).get(_ATTRIBUTE)


_current: ContextVar[HttpRequest | None] = ContextVar(
    f"{__name__}.current", default=None
)


@contextlib.contextmanager
def under_way(request: HttpRequest) -> Iterator[None]:
    """Take this request for the one whose end settles what is tried until then."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def request_under_way() -> HttpRequest | None:
    """Return the request whose end settles; None outside of one."""
    return _current.get()


def django_request(request: object) -> HttpRequest | None:
    """Return the request of Django's that a framework's own wraps; None when there is none.

    It is the one under way, also where a library has made one up to hand it to
    ``authenticate()``: nobody would settle that one's attempts.
    """
    inner = getattr(request, "_request", request)
    if not isinstance(inner, HttpRequest):
        return None
    return _current.get() or inner
