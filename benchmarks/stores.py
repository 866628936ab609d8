"""Compares the store's operations with raw redis-py: python -m benchmarks.stores [redis URL].

Without a URL a server of its own is started. Rounds of both alternate, so that whatever else
the machine does falls on both; the medians are compared. The budget is 0.85.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

ROUNDS = 41
CALLS = 200
VALUE = "x" * 200
BACKENDS = {
    "django-redis": "django_redis.cache.RedisCache",
    "Django RedisCache": "django.core.cache.backends.redis.RedisCache",
}


def seconds(call: Callable[[str], Any]) -> float:
    start = time.perf_counter()
    for number in range(CALLS):
        call(f"key-{number}")
    return (time.perf_counter() - start) / CALLS


def compare(
    raw: Callable[[str], Any], ours: Callable[[str], Any]
) -> tuple[float, float]:
    """Return the median of each, in microseconds a call."""
    times = [(seconds(raw), seconds(ours)) for _ in range(ROUNDS)]
    raw_times, our_times = zip(*times, strict=True)
    return statistics.median(raw_times) * 1e6, statistics.median(our_times) * 1e6


def main(url: str) -> None:
    settings.configure(
        CACHES={
            name: {"BACKEND": backend, "LOCATION": url}
            for name, backend in BACKENDS.items()
        },
    )
    django.setup()
    import redis

    from crossauth_django.stores import get_store

    raw = redis.Redis.from_url(url)
    print(f"{'':20}{'':6}{'raw µs':>9}{'store µs':>9}{'ratio':>7}")
    for name in BACKENDS:
        store = get_store(name)
        pairs: list[tuple[str, Callable[[str], Any], Callable[[str], Any]]] = [
            (
                "set",
                lambda k: raw.set(k, VALUE, px=60_000),
                lambda k, s=store: s.set(k, VALUE, 60),
            ),
            ("get", raw.get, store.get),
            ("pop", raw.getdel, store.pop),
        ]
        for operation, theirs, ours in pairs:
            before, after = compare(theirs, ours)
            print(
                f"{name:20}{operation:6}{before:9.1f}{after:9.1f}{before / after:7.2f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        from tests import services

        server = services.start("redis")
        try:
            main(server.url)
        finally:
            server.stop()
