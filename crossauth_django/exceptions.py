"""Everything that crossauth_django raises on purpose.

CrossAuthError
├── StoreUnavailableError      the cache server did not answer
│   └── StoreBusyError         others hold the key, or every connection, for too long
├── AccountError
│   ├── AccountLinkedError     the identity has another owner
│   ├── AccountNotLinkedError  the address belongs to somebody, or to several
│   ├── AccountInactiveError   the user is disabled
│   ├── EmailMissingError      a user needs an address, and there is none to use
│   └── AccountMissingError    no such user or connection (also a ValueError)
├── InvalidTokenError          unknown, used, expired or forged
├── InvalidCursorError         a page cursor that was not ours (also a ValueError)
├── EncryptionError            a provider token that no key opens
├── LockedOutError             too many sign-in attempts
├── RateLimitedError           too many requests of one kind
└── OAuthError
    ├── StateMismatchError     the callback belongs to no sign-in of this browser
    ├── ProviderError          the provider refused, or could not be reached
    └── IdTokenError           the ID token proves nothing

Each class has a stable ``code``; messages are for logs and never shown to a visitor.
None of them knows HTTP: ``views`` and ``middleware`` choose the status.
"""

from __future__ import annotations


class CrossAuthError(Exception):
    """The root of the tree."""

    code = "error"


class StoreUnavailableError(CrossAuthError):
    """The cache server is down, refused the command or did not answer in time.

    Whether the command took effect is unknown: it may have, and only the answer was lost.
    """

    code = "store_unavailable"


class StoreBusyError(StoreUnavailableError):
    """Others hold this key, or every connection, for too long. Nothing was written.

    It is no outage: the cache server may be well.
    """


class AccountError(CrossAuthError):
    """The accounts refuse what was asked. Nothing was written."""

    code = "account_error"


class AccountLinkedError(AccountError):
    """The provider identity already has an owner, or is connected without sign-in."""

    code = "account_already_linked"


class AccountNotLinkedError(AccountError):
    """The address belongs to a user that the identity is not linked to, or to several users."""

    code = "account_not_linked"


class AccountInactiveError(AccountError):
    """The user is disabled (``is_active`` is False)."""

    code = "account_inactive"


class EmailMissingError(AccountError):
    """A new user needs an address, and there is none, or none that the column can hold."""

    code = "email_missing"


class AccountMissingError(AccountError, ValueError):
    """The user or the connection to be written does not exist."""

    code = "account_not_found"


class InvalidTokenError(CrossAuthError):
    """The single-use token is unknown, used, expired, forged or for another purpose.

    One error for all of them: telling them apart would tell a stranger whether an address
    ever asked for a token.
    """

    code = "invalid_token"


class InvalidCursorError(CrossAuthError, ValueError):
    """The page cursor is malformed, or was made for another order."""

    code = "invalid_cursor"


class EncryptionError(CrossAuthError):
    """No key of ``CROSSAUTH_ENCRYPTION_KEYS`` opens the stored value."""

    code = "encryption_error"


class LockedOutError(CrossAuthError):
    """Too many sign-in attempts; ``retry_after`` is in whole seconds, at least 1.

    ``rule`` refused it: one of the lockout's, or ``"sudo"``. ``new_locks`` are the subjects that it
    locked and that are about its name: not an address, which is locked by guesses at whatever names.
    """

    code = "locked_out"

    def __init__(
        self,
        retry_after: int,
        *,
        rule: str = "",
        new_locks: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"Locked for {retry_after} s.")
        self.retry_after = retry_after
        self.rule = rule
        self.new_locks = new_locks

    def joined(self, other: LockedOutError) -> LockedOutError:
        """Return one for both: the longer wait, and all the locks that either began."""
        longer = max(self, other, key=lambda error: error.retry_after)
        locks = (*self.new_locks, *other.new_locks)
        return LockedOutError(longer.retry_after, rule=longer.rule, new_locks=locks)


class RateLimitedError(CrossAuthError):
    """Too many requests of one kind; ``retry_after`` is in whole seconds, at least 1."""

    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Limited for {retry_after} s.")
        self.retry_after = retry_after


class OAuthError(CrossAuthError):
    """``code`` is an error code of RFC 6749 section 4.1.2.1 or 5.2, or one of ours."""

    code = "oauth_failed"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class StateMismatchError(OAuthError):
    """The callback's ``state`` is unknown, used, expired or another browser's."""

    code = "invalid_state"


class ProviderError(OAuthError):
    """The provider answered with an error, with nonsense, or not at all."""

    code = "temporarily_unavailable"


class IdTokenError(OAuthError):
    """The ID token fails a check of OpenID Connect Core section 3.1.3.7."""

    code = "invalid_id_token"
