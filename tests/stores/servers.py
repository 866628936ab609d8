"""Servers that a test may stop, kill and start again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections
from django.test import override_settings
from redis import Redis, RedisCluster

from crossauth_django.stores import get_store
from tests import services


class Server(services.Service):
    """A Redis or memcached of the test's own."""

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        freeze(self.process.pid)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def start_again(self) -> None:
        services._STARTERS[self.name](self)


def freeze(pid: int) -> None:
    """Stop a child, and wait until it is: on a busy machine it goes on for a while."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


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


@contextlib.contextmanager
def hanging(alias: str, **options: Any) -> Iterator[None]:
    """Put the alias on a server that has stopped to answer, after it has answered once."""
    with running("memcached" if "mem" in alias or "mc" in alias else "redis") as server:
        options = {**settings.CACHES[alias].get("OPTIONS", {}), **options}
        with cache(alias, LOCATION=server.url, OPTIONS=options):
            get_store(alias).get("")
            server.freeze()
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
        finally:
            connections.close_all()

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
    total, table_of_linux = 0, Path("/proc/net/tcp")
    if not table_of_linux.exists():
        # Nobody tells elsewhere; what is sent on one machine has arrived by then.
        time.sleep(0.2)
        return 1
    with table_of_linux.open() as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                total += int(fields[4].rpartition(":")[2], 16)
    return total


def redis_process(service: services.Service, *options: str) -> str:
    """Start a Redis with options; return its URL."""
    command = services.redis_command()
    while not 1024 < service.port < 55_000:  # A cluster's second port is 10,000 higher.
        service.port = services.free_port()
    service.spawn(command, *options[:1], "--port", str(service.port), *options[1:])
    service.wait_until(lambda: services._answers(service.port))
    return f"redis://127.0.0.1:{service.port}"


@contextlib.contextmanager
def cluster() -> Iterator[list[Server]]:
    """Run a Redis Cluster of two nodes that have half of the slots each."""

    def node(service: services.Service) -> str:
        (service.folder / "conf").touch()
        options = ["--cluster-enabled", "yes", "--save", "", "--bind", "127.0.0.1"]
        return redis_process(service, str(service.folder / "conf"), *options)

    with contextlib.ExitStack() as stack:
        nodes = [Server("redis", node) for _ in range(2)]
        for each in nodes:
            stack.callback(each.stop)
        clients = [stack.enter_context(Redis.from_url(each.url)) for each in nodes]
        clients[0].execute_command("CLUSTER ADDSLOTS", *range(8192))
        clients[1].execute_command("CLUSTER ADDSLOTS", *range(8192, 16384))
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", nodes[1].port)
        for each, client in zip(nodes, clients, strict=True):
            each.wait_until(lambda client=client: is_whole(client))
        yield nodes


def is_whole(client: Any) -> bool:
    info = client.execute_command("CLUSTER INFO")
    text = (
        info
        if isinstance(info, dict)
        else dict(line.split(":") for line in info.decode().split())
    )
    return text["cluster_state"] == "ok" and text["cluster_known_nodes"] == "2"


class Factory:
    """What a site writes to put django-redis on a cluster."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def connect(self, url: str) -> Any:
        return RedisCluster.from_url(url)


@contextlib.contextmanager
def clustered() -> Iterator[list[Server]]:
    """Put "redis" on a cluster."""
    options = {"CONNECTION_FACTORY": "tests.stores.servers.Factory"}
    with (
        cluster() as nodes,
        cache("redis", LOCATION=nodes[0].url, OPTIONS=options),
    ):
        yield nodes


@contextlib.contextmanager
def sentinel() -> Iterator[tuple[Server, int]]:
    """Run a primary "main" with a replica, and the sentinel that watches them."""
    with running("redis") as primary, running("redis") as replica:
        with Redis.from_url(replica.url) as client:
            client.replicaof("127.0.0.1", primary.port)
            replica.wait_until(
                lambda: client.info("replication")["master_link_status"] == "up"
            )

        def watch(service: services.Service) -> str:
            conf = service.folder / "conf"
            conf.write_text(
                f"bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
                "sentinel down-after-milliseconds main 300\n"
                "sentinel failover-timeout main 2000\n"
            )
            return redis_process(service, str(conf), "--sentinel")

        watcher = services.Service("sentinel", watch)
        try:
            with Redis.from_url(watcher.url) as client:
                watcher.wait_until(lambda: knows_replica(client))
            yield primary, watcher.port
        finally:
            watcher.stop()


def knows_replica(client: Any) -> bool:
    return len(client.execute_command("SENTINEL REPLICAS", "main")) == 1
