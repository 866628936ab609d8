"""One process and one database a guard, for ``benchmarks/lockout.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Worker:
    def __init__(self, guard, window=None):
        environment = environment_of(guard)
        if window:
            environment["BENCH_WINDOW"] = str(window)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lockout_worker", "serve"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, operation, number=1):
        self.send(operation, number)
        return self.receive()

    def send(self, operation, number):
        self.process.stdin.write(json.dumps([operation, number]) + "\n")
        self.process.stdin.flush()

    def receive(self):
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def environment_of(guard):
    return {
        **os.environ,
        "BENCH_GUARD": guard,
        "BENCH_DATABASE_NAME": database_name(guard),
    }


def database_name(guard):
    return f"bench_{guard.replace('-', '_')}"


def create_database(url, guard):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database_name(guard)}")


def log(text):
    print(text, file=sys.stderr, flush=True)
