"""A server at some distance: what is sent to it takes a random while to arrive."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

from tests.services import free_port


@contextlib.contextmanager
def at_a_distance(port: int, *, milliseconds: float) -> Iterator[int]:
    """Forward a port of its own to ``port``; a third of what is sent arrives late."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    opened = [listener]

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                opened.extend((near, far))
                start(near, far, milliseconds)
                start(far, near, 0)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def start(source: socket.socket, target: socket.socket, milliseconds: float) -> None:
    def forward() -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if milliseconds and random.random() < 0.33:
                    time.sleep(random.uniform(0, milliseconds) / 1000)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=forward, daemon=True).start()
