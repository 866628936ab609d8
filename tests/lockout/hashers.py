from __future__ import annotations

import os

from django.contrib.auth.hashers import MD5PasswordHasher
from redis import Redis


class CountingHasher(MD5PasswordHasher):
    """Counts on the Redis server, for all processes, how often each password was looked at."""

    algorithm = "counting_md5"

    def verify(self, password: str, encoded: str) -> bool:
        with Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"], db=9) as redis:
            redis.incr(f"hashed:{password}")
        return super().verify(password, encoded)


def looked_at(password: str) -> int:
    with Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"], db=9) as redis:
        return int(redis.get(f"hashed:{password}") or 0)
