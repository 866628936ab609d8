"""Reading and compare-and-swap over pymemcache or pylibmc, with every outage an error.

Both are made to forget their own ways with a server that fails. pymemcache's ``HashClient``
answers "missing" while it waits to try again, and asks another server of the list after that;
libmemcached answers "missing" when an answer is lost. Here a key has one server, and a miss is
a miss that the server has said.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from crossauth_django.exceptions import StoreUnavailableError

T = TypeVar("T")

# What was read and the token to swap it by; None, None for a miss.
Found: TypeAlias = "tuple[bytes, Any] | tuple[None, None]"

_TIMEOUT_SECONDS = 5
_READS = 10

# A version that no entry has: they count from 1. (0 would mean "any" in the binary protocol.)
_NO_VERSION = 2**62


class Client(Protocol):
    """One connection to each server, for one thread at a time."""

    failures: tuple[type[Exception], ...]

    def read(self, name: str) -> Found: ...

    def read_many(self, names: Sequence[str]) -> list[bytes | None]: ...

    def write(self, name: str, data: bytes, token: Any, exptime: int) -> bool:
        """Swap for what has this token, or with None add; False when somebody was faster."""
        ...

    def close(self) -> None: ...


class PyMemcacheClient:
    """The clients inside a ``HashClient``, asked directly."""

    failures: tuple[type[Exception], ...]

    def __init__(self, cache: Any) -> None:
        from pymemcache.exceptions import MemcacheError, MemcacheServerError

        timeouts = {"connect_timeout": _TIMEOUT_SECONDS, "timeout": _TIMEOUT_SECONDS}
        options = timeouts | cache._options | {"use_pooling": False}  # noqa: SLF001
        self._hash = cache._class(cache.client_servers, **options)  # noqa: SLF001
        self.failures = (OSError, MemcacheError)
        self._refusal = MemcacheServerError

    def read(self, name: str) -> Found:
        found: Found = self._server(name).gets(name)
        return found

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        by_server = defaultdict(list)
        for name in names:
            by_server[self._server(name)].append(name)
        found: dict[str, bytes] = {}
        for server, its_names in by_server.items():
            found |= server.get_multi(its_names)
        return [found.get(name) for name in names]

    def write(self, name: str, data: bytes, token: Any, exptime: int) -> bool:
        server = self._server(name)
        try:
            if token is None:
                return bool(server.add(name, data, exptime, noreply=False))
            return bool(server.cas(name, data, token, exptime, noreply=False))
        except self._refusal as error:
            if "too large" in str(error):
                raise ValueError("The value is too large for memcached.") from error
            raise

    def close(self) -> None:
        self._hash.close()

    def _server(self, name: str) -> Any:
        return self._hash.clients[self._hash.hasher.get_node(name)]


class PyLibMCClient:
    """A client of libmemcached that compares and swaps, and gives no server up."""

    failures: tuple[type[Exception], ...]

    def __init__(self, cache: Any) -> None:
        import pylibmc

        options = dict(cache._options)  # noqa: SLF001
        ours = {"cas": True, "auto_eject": False, "buffer_requests": False}
        options["behaviors"] = {**options.get("behaviors", {}), **ours}
        self._client = cache._class(cache.client_servers, **options)  # noqa: SLF001
        self._error = pylibmc.Error
        self.failures = (pylibmc.Error,)
        self._missing = pylibmc.NotFound
        self._too_big = pylibmc.TooBig

    def read(self, name: str) -> Found:
        # pylibmc 1.6 frees the bytes that it makes of a string before libmemcached sends them,
        # and another thread's key may stand there by then; bytes of ours outlive the call.
        key = name.encode()
        for _ in range(_READS):
            found: Found = self._client.gets(key)
            # libmemcached says this also when the answer was lost, so ask in a way whose
            # "not found" is the server's own. Somebody may add the entry in between.
            if found[0] is not None or self._is_missing(name):
                return found
        raise self._error("libmemcached does not see an entry that is there")

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        keys = {name: name.encode() for name in names}
        found = self._client.get_multi(list(keys.values()))
        # A miss is believed as little as that of one.
        return [
            found[key] if key in found else self._read_missed(name)
            for name, key in keys.items()
        ]

    def write(self, name: str, data: bytes, token: Any, exptime: int) -> bool:
        try:
            if token is None:
                return bool(self._client.add(name, data, exptime))
            return bool(self._client.cas(name, data, token, exptime))
        except self._missing:
            return False
        except self._too_big as error:
            raise ValueError("The value is too large for memcached.") from error

    def close(self) -> None:
        self._client.disconnect_all()

    def _read_missed(self, name: str) -> bytes | None:
        return None if self._is_missing(name) else self.read(name)[0]

    def _is_missing(self, name: str) -> bool:
        try:
            self._client.cas(name, b"", _NO_VERSION)
        except self._missing:
            return True
        return False


class Clients:
    """Clients at rest; a call takes one, or makes one, and brings it back."""

    def __init__(self, alias: str, make: Callable[[], Client]) -> None:
        self._alias = alias
        self._make = make
        self._process = os.getpid()
        self._idle: deque[Client] = deque()
        self._inherited = self._idle

    def read(self, name: str) -> Found:
        return self._ask(lambda client: client.read(name))

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        return self._ask(lambda client: client.read_many(names))

    def write(self, name: str, data: bytes, token: Any, exptime: int) -> bool:
        client, _ = self._take()
        try:
            is_done = client.write(name, data, token, exptime)
        except client.failures as error:
            client.close()
            self.close()
            raise self._unavailable(error) from error
        except BaseException:
            # A value that is too large, or an interrupt before the answer was read.
            client.close()
            raise
        self._idle.append(client)
        return is_done

    def close(self) -> None:
        while self._idle:
            client, _ = self._take()
            client.close()

    def _ask(self, reading: Callable[[Client], T]) -> T:
        client, is_used = self._take()
        try:
            found = reading(client)
        except client.failures as error:
            client.close()
            self.close()
            if not is_used:
                raise self._unavailable(error) from error
            # The server may have started anew since. Reading twice does no harm.
            return self._ask(reading)
        self._idle.append(client)
        return found

    def _take(self) -> tuple[Client, bool]:
        if self._process != os.getpid():
            # A fork: the parent goes on using these connections, and a client that is
            # closed, or only collected, says goodbye on them. So they are kept.
            self._inherited, self._idle = self._idle, deque()
            self._process = os.getpid()
        try:
            return self._idle.pop(), True
        except IndexError:
            return self._make(), False

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(f"CACHES[{self._alias!r}]: {error}")
