"""One guard's process: does what ``benchmarks/lockout.py`` asks over its pipe."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from urllib.parse import urlencode

# It configures Django, so it comes before what is imported from there.
from benchmarks.lockout_site import GUARD, application

# isort: split
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis.connection import AbstractConnection

sent = 0
serial = 0


def count_round_trips() -> None:
    original = AbstractConnection.send_packed_command

    def counted(self, *args, **kwargs):
        global sent
        sent += 1
        return original(self, *args, **kwargs)

    AbstractConnection.send_packed_command = counted


def prepare(prefix: str, users: int) -> None:
    call_command("migrate", verbosity=0)
    password = make_password("right")
    User.objects.bulk_create(
        [User(username=f"{prefix}{n}", password=password) for n in range(users)],
        ignore_conflicts=True,
    )


def sign_in(name: str, password: str, address: str) -> int:
    field = "login" if GUARD == "allauth" else "username"
    body = urlencode({field: name, "password": password}).encode()
    statuses = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/login/",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_X_BENCH_ADDRESS": address,
        "HTTP_USER_AGENT": "benchmark",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
    }
    response = application(environ, lambda status, headers: statuses.append(status))
    b"".join(response)
    response.close()
    return int(statuses[0][:3])


def fresh() -> tuple[str, str]:
    """A name and an address that nothing counts against yet."""
    global serial
    serial += 1
    return f"name{serial}", address_of(serial)


def address_of(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def measured(operation: str, number: int) -> dict:
    times = []
    for _ in range(number):
        guess = next_of(operation)
        begun = time.perf_counter()
        status = sign_in(*guess)
        times.append(time.perf_counter() - begun)
        if (status == 302) != (operation == "success"):
            raise SystemExit(f"{GUARD}: {operation} got {status}")
    guess, before = next_of(operation), sent
    with CaptureQueriesContext(connection) as queries:
        sign_in(*guess)
    return {"times": times, "sql": len(queries), "trips": sent - before}


def next_of(operation: str) -> tuple[str, str, str]:
    name, address = fresh()
    if operation == "failure":
        return name, "wrong", address
    if operation == "success":
        return "member0", "right", address
    return "member1", "wrong", "203.0.113.1"


def fill(start: int, names: int) -> dict:
    for number in range(start, start + names):
        # Four names an address: below every guard's limit.
        name, address = f"somebody{number}@example.org", 2**23 + number // 4
        if sign_in(name, "wrong", address_of(address)) == 302:
            raise SystemExit(f"{GUARD}: a wrong password signs in")
    return {}


def outage(_: int) -> dict:
    begun = time.perf_counter()
    name, address = fresh()
    status = sign_in(name, "wrong", address)
    return {"status": status, "seconds": time.perf_counter() - begun}


def serve() -> None:
    count_round_trips()
    prepare("member", 2)
    answers = sys.stdout
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for line in sys.stdin:
        operation, number = json.loads(line)
        if operation == "fill":
            found = fill(*number)
        elif operation == "outage":
            found = outage(number)
        else:
            found = measured(operation, number)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare("user", int(sys.argv[2]))
    else:
        serve()
