"""Who guards a login how well, and what it costs: one run over all guards.

    pip install -e .[bench]
    python -m benchmarks.lockout                # all of it
    python -m benchmarks.lockout --names 10000  # a smaller memory test

Starts Redis and PostgreSQL of its own. Prints a table: guesses that reached the password hasher
of 64 parallel ones (gunicorn, 4 workers x 4 threads; limit 5), SQL queries and Redis round trips,
latency over plain Django (cheap hasher, guards in turn, medians), bytes of Redis per name.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
GUARDS = ["plain", "axes-db", "axes-cache", "defender", "allauth", "crossauth"]
OPERATIONS = ["failure", "success", "locked"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guards", default=",".join(GUARDS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from tests.services import start

    redis, postgres = start("redis"), start("postgres")
    try:
        results = measure(options, redis, postgres)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(redis.process.pid, signal.SIGCONT)
        redis.stop()
        postgres.stop()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    print_table(results)


def measure(options, redis, postgres):
    guards = options.guards.split(",")
    results = {guard: {} for guard in guards}
    for guard in guards:
        os.environ["BENCH_REDIS"], os.environ["BENCH_DATABASE"] = (
            redis.url,
            postgres.url,
        )
        create_database(postgres.url, guard)
        log(f"{guard}: 64 parallel guesses, {options.rounds} rounds")
        results[guard]["reached"] = burst(guard, options.rounds, redis.url)
    workers = {guard: Worker(guard) for guard in guards}
    try:
        log("latency, guards in turn")
        latencies(workers, results, options.requests)
        for guard, worker in workers.items():
            log(f"{guard}: memory of {options.names} names")
            found = worker.ask("memory", options.names)
            results[guard]["bytes"] = found["bytes"]
        log("Redis hangs, then is killed")
        os.kill(redis.process.pid, signal.SIGSTOP)
        for guard, worker in workers.items():
            results[guard]["hung"] = worker.ask("outage")
        os.kill(redis.process.pid, signal.SIGCONT)
        redis.process.kill()
        redis.process.wait()
        time.sleep(1.1)
        for guard, worker in workers.items():
            results[guard]["killed"] = worker.ask("outage")
    finally:
        for worker in workers.values():
            worker.close()
    return results


def latencies(workers, results, requests):
    times = {guard: {operation: [] for operation in OPERATIONS} for guard in workers}
    for worker in workers.values():
        for operation in OPERATIONS:
            worker.ask(operation, 5)
    block = 20
    for _ in range(requests // block):
        for operation in OPERATIONS:
            for guard, worker in workers.items():
                found = worker.ask(operation, block)
                times[guard][operation] += found["times"]
                counts = results[guard].setdefault(operation, {})
                counts["sql"], counts["trips"] = found["sql"], found["trips"]
    for guard in workers:
        for operation in OPERATIONS:
            middle = statistics.median(times[guard][operation])
            results[guard][operation]["ms"] = middle * 1000


def print_table(results):
    plain = results.get("plain", {})
    print(
        f"\n{'guard':<11} {'of 64: median (min-max)':<24} {'SQL f/s/l':<12} "
        f"{'trips f/s/l':<12} {'latency f/s/l':<18} {'bytes/name':<10} hung         killed"
    )
    for guard, found in results.items():
        reached = found["reached"]
        span = f"{statistics.median(reached):g} ({min(reached)}-{max(reached)})"
        columns = [
            "/".join(f"{found[each][what]:g}" for each in OPERATIONS)
            for what in ("sql", "trips")
        ]
        ratios = [
            f"{found[each]['ms'] / plain[each]['ms']:.2f}" if plain else "-"
            for each in OPERATIONS
        ]
        hung, killed = (
            f"{found[what]['status']} {found[what]['seconds']:.2f} s"
            for what in ("hung", "killed")
        )
        print(
            f"{guard:<11} {span:<24} {columns[0]:<12} {columns[1]:<12} "
            f"{'/'.join(ratios):<18} {found['bytes']:<10.0f} {hung:<12} {killed}"
        )


# --- 64 parallel guesses ------------------------------------------------------------------


def burst(guard, rounds, redis_url):
    from redis import Redis

    from tests.services import free_port

    port = free_port()
    environment = environment_of(guard) | {
        "BENCH_HASHER": "benchmarks.lockout_site.CountingHasher"
    }
    prepare = subprocess.run(
        [sys.executable, "-m", "benchmarks.lockout_worker", "prepare", str(rounds)],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if prepare.returncode:
        raise SystemExit(prepare.stderr)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "benchmarks.lockout_site:application"),
            *("--bind", f"127.0.0.1:{port}", "--workers", "4", "--threads", "4"),
            *("--no-control-socket", "--log-level", "critical"),
        ],
        cwd=ROOT,
        env=environment,
    )
    try:
        wait_for(port)
        reached = []
        with Redis.from_url(redis_url, db=9) as redis:
            for number in range(rounds):
                wrong = f"wrong-{guard}-{number}"
                together(
                    64, lambda n=number, w=wrong: post(port, guard, f"user{n}", w, n)
                )
                reached.append(int(redis.get(f"hashed:{wrong}") or 0))
        return reached
    finally:
        server.terminate()
        server.wait(30)


def post(port, guard, name, password, number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        field = "login" if guard == "allauth" else "username"
        connection.request(
            "POST",
            "/login/",
            urlencode({field: name, "password": password}),
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Bench-Address": f"198.51.100.{number % 250 + 1}",
            },
        )
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def together(size, work):
    barrier = threading.Barrier(size)

    def run():
        barrier.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for(port):
    deadline = time.monotonic() + 60
    while True:
        try:
            post(port, "plain", "warm", "up", 249)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    # Each worker takes some of them, and is warm then.
    together(64, lambda: post(port, "plain", "warm", "up", 249))


# --- one worker process a guard ----------------------------------------------------------


class Worker:
    def __init__(self, guard):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lockout_worker", "serve"],
            cwd=ROOT,
            env=environment_of(guard),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, operation, number=1):
        self.process.stdin.write(json.dumps([operation, number]) + "\n")
        self.process.stdin.flush()
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


if __name__ == "__main__":
    main()
