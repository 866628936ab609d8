"""What is really sent to Redis, as the server itself tells it (MONITOR)."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

from redis import Redis

# What a driver says when it connects, before anything is asked.
_GREETINGS = {"AUTH", "CLIENT", "HELLO", "PING", "SELECT"}


@contextlib.contextmanager
def round_trips() -> Iterator[list[str]]:
    """Collect the names of the commands that clients send meanwhile; a script's own are none."""
    sent: list[str] = []
    end = uuid.uuid4().hex
    with (
        Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"]) as redis,
        Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"]).monitor() as monitor,
    ):
        redis.ping()
        yield sent
        redis.echo(end)
        for command in monitor.listen():
            name, _, rest = command["command"].partition(" ")
            if rest == end:
                break
            if command["client_type"] != "lua" and name.upper() not in _GREETINGS:
                sent.append(name.lower())
