"""Servers that a test may stop, kill and start again on the same port."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.test import override_settings

from tests import services


class Server(services.Service):
    """A Redis or memcached of the test's own."""

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def start_again(self) -> None:
        services._STARTERS[self.name](self)


@contextlib.contextmanager
def running(name: str) -> Iterator[Server]:
    server = Server(name, services._STARTERS[name])
    try:
        yield server
    finally:
        server.thaw()
        server.stop(signal.SIGKILL)


@contextlib.contextmanager
def cache(alias: str, **changes: Any) -> Iterator[None]:
    """Change some keys of ``CACHES[alias]``; a new one starts from nothing."""
    changed = {**settings.CACHES.get(alias, {}), **changes}
    with override_settings(CACHES={**settings.CACHES, alias: changed}):
        yield


def outcome_during(
    action: Callable[[], Any], call: Callable[[], Any], *, until: Callable[[], bool]
) -> Any:
    """Start ``call`` in a thread, do ``action`` once ``until`` is true, return what came of it."""
    outcomes = []

    def work() -> None:
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001  (handed to the test)
            outcomes.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    action()
    thread.join(30)
    (outcome,) = outcomes
    return outcome


def unread_bytes(port: int) -> int:
    """How much was sent to a frozen server on ``port`` and not read by it."""
    total = 0
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                total += int(fields[4].rpartition(":")[2], 16)
    return total
