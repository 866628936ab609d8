"""Real workers, a real server, real bursts: what of a guess reaches the password hasher."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.db import connections

from tests.lockout.hashers import CountingHasher, looked_at
from tests.services import FIGURES, free_port

ROUNDS = 20
ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def site(alias: str, log: Path) -> Iterator[int]:
    port = free_port()
    names = {name: connections[name].settings_dict["NAME"] for name in connections}
    environment = {
        **os.environ,
        "CROSSAUTH_TEST_ALIAS": alias,
        "CROSSAUTH_TEST_DATABASE_NAMES": json.dumps(names, default=str),
        "DJANGO_SETTINGS_MODULE": "tests.lockout.site",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "tests.lockout.wsgi:application"),
                *("--bind", f"127.0.0.1:{port}", "--workers", "4", "--threads", "4"),
                *("--preload", "--no-control-socket"),
            ],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while log.read_text().count("Booting worker") < 4 or not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        return sign_in(port, "", "", "192.0.2.254") == 200
    except OSError:
        return False


def sign_in(port: int, name: str, password: str, address: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            "POST",
            "/login/",
            urlencode({"username": name, "password": password}),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Forwarded-For": address,
            },
        )
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def all_at_once(port: int, guesses: list[tuple[str, str, str]]) -> list[int]:
    barrier = threading.Barrier(len(guesses))
    statuses = [0] * len(guesses)

    def guess(position: int) -> None:
        barrier.wait(60)
        statuses[position] = sign_in(port, *guesses[position])

    threads = [
        threading.Thread(target=guess, args=(position,))
        for position in range(len(guesses))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return statuses


# The table on PostgreSQL where it runs, else on SQLite.
NAME = "postgres" if "postgres" in settings.DATABASES else "default"
MARK = pytest.mark.django_db(transaction=True, databases={"default", NAME})
DATABASE = pytest.param(f"database_{NAME}", marks=MARK)


@pytest.fixture
def users(transactional_db: None) -> None:
    encoded = CountingHasher().encode("right", "salt")
    get_user_model().objects.bulk_create(
        [
            get_user_model()(username=f"user{number}", password=encoded)
            for number in range(ROUNDS)
        ]
    )


def emptied(alias: str) -> None:
    if alias not in caches.settings:
        pytest.skip(f"{alias} does not run here")
    caches[alias].clear()


@pytest.mark.parametrize("alias", ["redis", DATABASE, "pymemcache"])
def test_of_64_parallel_guesses_exactly_5_reach_the_hasher(
    alias, users, tmp_path, record_property
):
    emptied(alias)
    figures = []
    with site(alias, tmp_path / "log") as port:
        for number in range(ROUNDS):
            name, address = f"user{number}", f"198.51.100.{number}"
            wrong = f"wrong-{alias}-{number}-{os.getpid()}"
            statuses = all_at_once(port, [(name, wrong, address)] * 64)
            assert statuses.count(200) == 5
            assert statuses.count(429) == 59
            assert sign_in(port, name, "right", address) == 429
            figures.append(looked_at(wrong))
    reached = f"of 64 parallel guesses reached the hasher, {alias}: {figures}"
    record_property(FIGURES, reached)
    assert figures == [5] * ROUNDS


@pytest.mark.parametrize(
    ("alias", "rounds"),
    [
        ("redis", ROUNDS),
        pytest.param(f"database_{NAME}", 4, marks=MARK),
        ("pymemcache", 4),
    ],
)
def test_who_signs_in_correctly_at_one_moment_is_let_in(alias, rounds, users, tmp_path):
    emptied(alias)
    with site(alias, tmp_path / "log") as port:
        for number in range(rounds):
            address = f"203.0.113.{number}"
            office = [(f"user{n}", "right", address) for n in range(16)]
            assert all_at_once(port, office) == [302] * 16
            impatient = [(f"user{number}", "right", address)] * 4
            assert all_at_once(port, impatient) == [302] * 4
