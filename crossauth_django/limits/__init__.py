"""Rate limits: sliding, exact under any burst, one step on one key."""

from __future__ import annotations

from crossauth_django.limits.budget import RateLimit, Usage, atake, take
from crossauth_django.limits.requests import acheck, check
from crossauth_django.limits.table import HOUR, OWN, limit_of, wrong_limits
from crossauth_django.limits.views import RateLimitMixin, rate_limit

__all__ = [
    "HOUR",
    "OWN",
    "RateLimit",
    "RateLimitMixin",
    "Usage",
    "acheck",
    "atake",
    "check",
    "limit_of",
    "rate_limit",
    "take",
    "wrong_limits",
]
