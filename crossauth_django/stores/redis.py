"""Redis and Valkey, behind django-redis or Django's own backend: one command an operation.

Nothing is ever sent twice. Whether a command took effect is unknown when its answer is lost,
and a second GETDEL would lose a popped value, a second step would count double, and a second
SET would revive what somebody popped in between. A pooled connection that the server has
closed meanwhile is noticed before it is used, so a restart of the server costs no error.
"""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured

from crossauth_django.exceptions import StoreBusyError, StoreUnavailableError
from crossauth_django.forks import at_fork
from crossauth_django.stores.base import Reply, Step, Store, lifetime_ms

# Keys of one DEL: the server does nothing else meanwhile.
_BATCH = 1000

# What the driver says when the site lets its pool hold no more: the server may be well.
_NONE_LEFT = ("Too many connections", "No connection available")

# What every script starts with: `now` is the server's clock, the same for all workers.
_PRELUDE = """\
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""


class RedisStore(Store):
    """Raw text under SET, GET, MGET, DEL, GETDEL and EVALSHA; exact across machines."""

    def __init__(self, alias: str, cache: BaseCache, params: Mapping[str, Any]) -> None:
        super().__init__(alias, cache)
        if "ShardClient" in str(params.get("OPTIONS", {}).get("CLIENT_CLASS", "")):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] shards by itself (ShardClient), so a step cannot span "
                "keys. Use DefaultClient, SentinelClient or a Redis Cluster."
            )
        from redis import VERSION, ConnectionPool
        from redis.exceptions import (
            NoScriptError,
            RedisClusterException,
            RedisError,
            ResponseError,
        )

        # Before, a pool wanted to be told the command.
        self._is_new_driver = VERSION >= (5, 3)
        self._no_script = NoScriptError
        # That of a cluster is no RedisError.
        self._failures = (RedisError, RedisClusterException, OSError)
        self._refusal = ResponseError
        self._plain_pool = ConnectionPool
        # What a thread puts back here, the next one takes without the pool's bookkeeping, which
        # costs as much as the answer. Those that fail go back to the pool.
        self._at_hand: deque[Any] = deque()
        _stores.add(self)

    def set(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> None:
        name, text, life = self._name(key, slot), _encode(value), lifetime_ms(ttl)
        if life is None:
            self._call("SET", name, text)
        elif life <= 0:
            self._call("DEL", name)
        else:
            self._call("SET", name, text, "PX", life)

    def add(
        self, key: str, value: str, ttl: float | None = None, *, slot: str = ""
    ) -> bool:
        name, text, life = self._name(key, slot), _encode(value), lifetime_ms(ttl)
        if life is None:
            return self._call("SET", name, text, "NX") is not None
        if life <= 0:
            return not self._call("EXISTS", name)
        return self._call("SET", name, text, "NX", "PX", life) is not None

    def get(self, key: str, *, slot: str = "") -> str | None:
        return _decode(self._call("GET", self._name(key, slot)))

    def get_many(self, keys: Sequence[str], *, slot: str) -> list[str | None]:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        values = self._call("MGET", *names) if names else []
        return [_decode(value) for value in values]

    def delete(self, key: str, *, slot: str = "") -> bool:
        return bool(self._call("DEL", self._name(key, slot)))

    def delete_many(self, places: Sequence[tuple[str, str]]) -> None:
        if _members(self._client):
            names = [self._name(key, slot) for key, slot in places]
            for start in range(0, len(names), _BATCH):
                self._call("DEL", *names[start : start + _BATCH])
        else:
            # A cluster keeps them in different places.
            super().delete_many(places)

    def pop(self, key: str, *, slot: str = "") -> str | None:
        return _decode(self._call("GETDEL", self._name(key, slot)))

    def step(
        self,
        step: Step,
        keys: Sequence[str],
        args: Sequence[str | int] = (),
        *,
        slot: str = "",
    ) -> Reply:
        names = [self._name(key, slot) for key in self._distinct(keys, slot)]
        rest = [
            _encode(arg) if isinstance(arg, str) else arg for arg in (*names, *args)
        ]
        source, sha = _script(step.source)
        try:
            reply = self._call("EVALSHA", sha, len(names), *rest)
        except StoreUnavailableError as error:
            if not isinstance(error.__cause__, self._no_script):
                raise
            # The server has started since and has run nothing of the script yet.
            reply = self._call("EVAL", source, len(names), *rest)
        return [item if isinstance(item, int) else _decode(item) for item in reply]

    def close(self) -> None:
        client = self.__dict__.pop("_client", None)
        self.__dict__.pop("_keeps_connections", None)
        if client is not None:
            while self._at_hand:
                client.connection_pool.release(self._at_hand.pop())
            client.close()
            for each in _members(client):
                each.connection_pool.disconnect(inuse_connections=False)

    def _connected(self, then: Any, connection: Any) -> None:
        self.connections_made += 1
        if then is None:
            connection.on_connect()
        else:
            then(connection)

    def _call(self, *command: Any) -> Any:
        client = self._client
        try:
            if self._is_new_driver and hasattr(client, "connection_pool"):
                return self._exchange(client.connection_pool, command)
            # A cluster, whose client finds the node. Bytes, also for a site whose own cache
            # asks the driver to decode.
            return client.execute_command(*command, NEVER_DECODE=True)
        except self._failures as error:
            raise self._unavailable(command[0], error) from error

    def _unavailable(self, doing: str, error: Exception) -> StoreUnavailableError:
        is_busy = str(error).startswith(_NONE_LEFT)
        kind = StoreBusyError if is_busy else StoreUnavailableError
        return kind(f"CACHES[{self.alias!r}], {doing}: {error}")

    def _exchange(self, pool: Any, command: Sequence[Any]) -> Any:
        """Send one command and read its answer, without what the driver measures meanwhile."""
        connection, is_in_order = self._connection(pool), False
        try:
            connection.send_command(*command, check_health=False)
            reply = connection.read_response(disable_decoding=True)
        except self._refusal:
            is_in_order = True  # An answer like any other.
            raise
        else:
            is_in_order = True
            return reply
        finally:
            if not is_in_order:
                connection.disconnect()
                pool.release(connection)
            elif self._keeps_connections:
                self._at_hand.append(connection)
            else:
                pool.release(connection)

    @functools.cached_property
    def _keeps_connections(self) -> bool:
        """Whether a connection may stay away from its pool.

        One of Sentinel's is told there that the primary has moved, one of a pool that blocks is
        waited for there, and one with a credential provider is signed in anew.
        """
        pool = self._client.connection_pool
        provider = pool.connection_kwargs.get("credential_provider")
        return type(pool) is self._plain_pool and provider is None

    def _connection(self, pool: Any) -> Any:
        """Return a connection that nobody else uses; raise when there is no server."""
        try:
            connection = self._at_hand.pop()
        except IndexError:
            return pool.get_connection()
        try:
            # As the pool asks: is there an answer to nothing, as of a server that has gone?
            is_in_order = not connection.can_read()
        except self._failures:
            is_in_order = False
        if is_in_order:
            return connection
        connection.disconnect()
        pool.release(connection)
        return pool.get_connection()

    @functools.cached_property
    def _client(self) -> Any:
        # Made at the first command, because that of a cluster asks the servers at once.
        try:
            client = _own_client(self._cache)
        except self._failures as error:
            raise self._unavailable("connecting", error) from error
        for each in _members(client):
            kwargs = each.connection_pool.connection_kwargs
            then = kwargs.get("redis_connect_func")
            kwargs.update(
                _never_twice(),
                redis_connect_func=functools.partial(self._connected, then),
            )
        if hasattr(client, "nodes_manager"):
            # A cluster's client repeats on its own; what was only redirected it still follows.
            client.set_retry(_never_twice()["retry"])
        return client


# Their connections are the parent's, and are left to it.
_stores: WeakSet[RedisStore] = WeakSet()


def _forget_connections() -> None:
    for store in _stores:
        store._at_hand = deque()  # noqa: SLF001


at_fork(after_in_child=_forget_connections)


def _own_client(cache: Any) -> Any:
    """Return a client of the primary server with a connection pool that nobody else uses.

    The site's own pool repeats commands as the site wishes, is closed at the end of requests
    (``DJANGO_REDIS_CLOSE_CONNECTION``) while other threads wait for answers, and answers
    "missing" when it is told to ignore exceptions.
    """
    if hasattr(cache, "client"):
        # django-redis shares its pools by URL, in a dictionary of the class.
        cache.client.connection_factory._pools = {}  # noqa: SLF001
        return cache.client.connect(0)
    return cache._cache.get_client(None, write=True)  # noqa: SLF001


def _members(client: Any) -> list[Any]:
    pool = getattr(client, "connection_pool", None)
    manager = getattr(pool, "sentinel_manager", None)
    return [client] * (pool is not None) + list(getattr(manager, "sentinels", ()))


def _never_twice() -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
    }


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "surrogatepass")


@functools.cache
def _script(source: str) -> tuple[str, str]:
    whole = _PRELUDE + source
    return whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()
