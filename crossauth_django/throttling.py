"""A throttle for Django REST framework; import it only where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.throttling import BaseThrottle

from crossauth_django.exceptions import RateLimitedError
from crossauth_django.limits import check
from crossauth_django.lockout import django_request

if TYPE_CHECKING:
    from crossauth_django.limits.requests import Key, Limit


class RateLimitThrottle(BaseThrottle):
    """``rate_limit`` for ``throttle_classes``: subclass it and say what is limited.

    ``action`` alone is one of this app's own; another needs ``rate_limit``. DRF answers 429 with
    ``Retry-After``.
    """

    action: str
    rate_limit: Limit = None
    key: Key | None = None

    _wait: int | None = None

    def allow_request(self, request: Any, view: Any) -> bool:
        cls = type(self)
        found = django_request(request)
        try:
            # From the class: a callable in an attribute would become a method.
            if found is not None:
                check(cls.action, found, limit=cls.rate_limit, key=cls.key)
        except RateLimitedError as error:
            self._wait = error.retry_after
            return False
        return True

    def wait(self) -> int | None:
        return self._wait
