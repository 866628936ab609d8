"""One typed property per setting, read when it is asked for, never at import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar

from django.conf import settings
from django.utils.functional import empty

T = TypeVar("T")

# Ten years. What is much longer is no time: a cookie's end, now and such a length from it, or a
# cache's expiry would lie beyond what Python or the server can count.
LONGEST = timedelta(days=3653)

# A full budget starts a lock when it has been full for this long: until then what is counted
# may be a correct sign-in in flight, afterwards it has failed.
GRACE_MS = 3000


class Conf:
    """``conf.CROSSAUTH_X`` is the project's value or the default; ``checks`` validates them."""

    @property
    def CROSSAUTH_CACHE_ALIAS(self) -> str:
        """The alias in ``CACHES`` that holds everything short-lived. Default: ``"default"``."""
        return _read("CROSSAUTH_CACHE_ALIAS", "default")

    @property
    def CROSSAUTH_WARN_ON_MEMORY_BACKEND(self) -> bool:
        """Log once a process when the cache lives in its memory. Default: True."""
        return _read("CROSSAUTH_WARN_ON_MEMORY_BACKEND", True)

    @property
    def CROSSAUTH_SECONDARY_STORAGE_MAX_TTL(self) -> timedelta | None:
        """Bounds what ``SecondaryStorage.set`` gets without a ttl. Default: None, for ever."""
        return _read("CROSSAUTH_SECONDARY_STORAGE_MAX_TTL", None)

    @property
    def CROSSAUTH_TRUSTED_PROXY_HOPS(self) -> int:
        """How many proxies of yours append to ``X-Forwarded-For``. Default: 0, trust nobody."""
        return _read("CROSSAUTH_TRUSTED_PROXY_HOPS", 0)

    @property
    def CROSSAUTH_BASE_URL(self) -> str | None:
        """Scheme and host of this site as browsers see it. Default: None, from the request."""
        return _read("CROSSAUTH_BASE_URL", None)

    @property
    def CROSSAUTH_USER_FIELDS(self) -> Mapping[str, str]:
        """Maps ``"email_verified"`` to a ``BooleanField`` of your user model. Default: ``{}``."""
        return _read("CROSSAUTH_USER_FIELDS", {})

    @property
    def CROSSAUTH_CREATE_USER(self) -> str | None:
        """Dotted path of a callable that makes and saves a user. Default: None.

        Called inside the transaction with keywords ``email``, ``user_info`` and
        ``extra_fields``; returns the saved user.
        """
        return _read("CROSSAUTH_CREATE_USER", None)

    @property
    def CROSSAUTH_PASSWORD_LOGIN(self) -> bool:
        """Whether a password counts as a way to sign in. Default: True."""
        return _read("CROSSAUTH_PASSWORD_LOGIN", True)

    @property
    def CROSSAUTH_PROVIDERS(self) -> Mapping[str, Mapping[str, Any]]:
        """The OAuth and OpenID providers, by the name in their URLs. Default: ``{}``."""
        return _read("CROSSAUTH_PROVIDERS", {})

    @property
    def CROSSAUTH_TRUST_EMAIL_FROM(self) -> Sequence[str]:
        """Providers whose verified e-mail links accounts. Default: google, apple, microsoft."""
        return _read("CROSSAUTH_TRUST_EMAIL_FROM", ["google", "apple", "microsoft"])

    @property
    def CROSSAUTH_STORE_PROVIDER_TOKENS(self) -> bool:
        """Keep access and refresh tokens, encrypted. Default: False."""
        return _read("CROSSAUTH_STORE_PROVIDER_TOKENS", False)

    @property
    def CROSSAUTH_ENCRYPTION_KEYS(self) -> Sequence[str]:
        """Fernet keys; the first encrypts, all decrypt. Default: ``[]``."""
        return _read("CROSSAUTH_ENCRYPTION_KEYS", [])

    @property
    def CROSSAUTH_SESSION_IDLE_TIMEOUT(self) -> timedelta:
        """Ends a signed-in session that nobody uses for so long. Default: 30 minutes."""
        return _read("CROSSAUTH_SESSION_IDLE_TIMEOUT", timedelta(minutes=30))

    @property
    def CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT(self) -> timedelta:
        """Ends a signed-in session so long after the sign-in, used or not. Default: 14 days."""
        return _read("CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT", timedelta(days=14))

    @property
    def CROSSAUTH_SESSION_REMEMBER_ME_AGE(self) -> timedelta:
        """Stands for both timeouts and the cookie's age on a remembered device. Default: 30 days."""
        return _read("CROSSAUTH_SESSION_REMEMBER_ME_AGE", timedelta(days=30))

    @property
    def CROSSAUTH_SESSION_TOUCH_INTERVAL(self) -> timedelta:
        """Writes the last activity at most once in so long. Default: 60 seconds."""
        return _read("CROSSAUTH_SESSION_TOUCH_INTERVAL", timedelta(seconds=60))

    @property
    def CROSSAUTH_SESSION_PREVIOUS_ENGINE(self) -> str | None:
        """The ``SESSION_ENGINE`` that this site used before; its sessions move in. Default: None."""
        return _read("CROSSAUTH_SESSION_PREVIOUS_ENGINE", None)

    @property
    def CROSSAUTH_MAX_SESSIONS_PER_USER(self) -> int | None:
        """How many browsers a user is signed in with at once. Default: 5; None for any number."""
        return _read("CROSSAUTH_MAX_SESSIONS_PER_USER", 5)

    @property
    def CROSSAUTH_ANONYMOUS_SESSIONS(self) -> Literal["cache", "table"]:
        """Where visitors' sessions live, ``"cache"`` or ``"table"``. Default: ``"cache"``."""
        return _read("CROSSAUTH_ANONYMOUS_SESSIONS", "cache")

    @property
    def CROSSAUTH_LOCKOUT_ATTEMPTS(self) -> int:
        """Failures of one name from one address, or from one known device. Default: 5; 0 is off."""
        return _read("CROSSAUTH_LOCKOUT_ATTEMPTS", 5)

    @property
    def CROSSAUTH_LOCKOUT_USER_ATTEMPTS(self) -> int:
        """Failures of one name from all unknown devices. Default: 20; 0 is off."""
        return _read("CROSSAUTH_LOCKOUT_USER_ATTEMPTS", 20)

    @property
    def CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS(self) -> int:
        """Failures from one address, with whatever names. Default: 50; 0 is off."""
        return _read("CROSSAUTH_LOCKOUT_ADDRESS_ATTEMPTS", 50)

    @property
    def CROSSAUTH_LOCKOUT_WINDOW(self) -> timedelta:
        """How long a failure counts, from the first one. Default: 60 seconds."""
        return _read("CROSSAUTH_LOCKOUT_WINDOW", timedelta(seconds=60))

    @property
    def CROSSAUTH_LOCKOUT_BASE(self) -> timedelta:
        """How long the first lock lasts; each further one twice as long. Default: 60 seconds."""
        return _read("CROSSAUTH_LOCKOUT_BASE", timedelta(seconds=60))

    @property
    def CROSSAUTH_LOCKOUT_MAX(self) -> timedelta:
        """How long a lock lasts at most. Default: 1 hour."""
        return _read("CROSSAUTH_LOCKOUT_MAX", timedelta(hours=1))

    @property
    def CROSSAUTH_LOCKOUT_RETENTION(self) -> timedelta:
        """How long after its end a lock still makes the next one longer. Default: 24 hours."""
        return _read("CROSSAUTH_LOCKOUT_RETENTION", timedelta(hours=24))

    @property
    def CROSSAUTH_LOCKOUT_ON_SUCCESS(self) -> Literal["clear_all", "clear_user_only"]:
        """Whether a sign-in takes its own failures off the address too. Default: ``clear_all``."""
        return _read("CROSSAUTH_LOCKOUT_ON_SUCCESS", "clear_all")

    @property
    def CROSSAUTH_LOCKOUT_FAIL_OPEN(self) -> bool:
        """Allow sign-ins, uncounted, while the cache is down. Default: False, answer 503."""
        return _read("CROSSAUTH_LOCKOUT_FAIL_OPEN", False)

    @property
    def CROSSAUTH_LOCKOUT_UNLOCK_EMAIL(self) -> bool:
        """Mail the owner a link that ends a lock. Default: False."""
        return _read("CROSSAUTH_LOCKOUT_UNLOCK_EMAIL", False)

    @property
    def CROSSAUTH_DEVICE_COOKIE_AGE(self) -> timedelta:
        """How long a browser that has signed in stays known. Default: 365 days; 0 is off."""
        return _read("CROSSAUTH_DEVICE_COOKIE_AGE", timedelta(days=365))

    @property
    def CROSSAUTH_LOG_NAMES(self) -> bool:
        """Write names and addresses in full to the security log. Default: False, digests."""
        return _read("CROSSAUTH_LOG_NAMES", False)

    @property
    def CROSSAUTH_RATE_LIMITS(self) -> Mapping[str, Any]:
        """Over the table of ``limits``: name to ``(times, seconds)`` or 0. Default: ``{}``."""
        return _read("CROSSAUTH_RATE_LIMITS", {})

    @property
    def CROSSAUTH_SUDO_WINDOW(self) -> timedelta:
        """How long a password that was asked for again counts. Default: 5 minutes."""
        return _read("CROSSAUTH_SUDO_WINDOW", timedelta(minutes=5))

    @property
    def CROSSAUTH_SUDO_ATTEMPTS(self) -> int:
        """Wrong passwords that a session may give within the window. Default: 3."""
        return _read("CROSSAUTH_SUDO_ATTEMPTS", 3)

    @property
    def CROSSAUTH_SUDO_LOCK(self) -> timedelta:
        """How long a session is asked no more after those. Default: 15 minutes."""
        return _read("CROSSAUTH_SUDO_LOCK", timedelta(minutes=15))

    @property
    def CROSSAUTH_OAUTH_STATE_TTL(self) -> timedelta:
        """How long a sign-in at a provider may take. Default: 10 minutes."""
        return _read("CROSSAUTH_OAUTH_STATE_TTL", timedelta(minutes=10))

    @property
    def CROSSAUTH_PROVIDER_TIMEOUT(self) -> timedelta:
        """Limit of one HTTP call to a provider. Default: 10 seconds."""
        return _read("CROSSAUTH_PROVIDER_TIMEOUT", timedelta(seconds=10))


conf = Conf()


def _read(name: str, default: T) -> T:
    # Past ``settings.__getattr__``, where a name that is not set costs ten times as much: most
    # of ours are not, and a request reads a dozen. It also is what configures the settings. What
    # the proxy defines for its own attributes costs as much again.
    holder = object.__getattribute__(settings, "_wrapped")
    return getattr(settings if holder is empty else holder, name, default)
