"""Who guards a login how well, and what it costs: one run over all guards.

    pip install -e .[bench]
    python -m benchmarks.lockout                # all of it
    python -m benchmarks.lockout --names 10000  # a smaller memory test

Starts Redis and PostgreSQL of its own. Prints a table: guesses that reached the password hasher
of 64 parallel ones (gunicorn, 4 workers x 4 threads; limit 5), SQL queries and Redis round trips,
latency over plain Django (cheap hasher, guards in turn, medians), keys and bytes of Redis a name.
Latencies differ least between runs on one core, where nothing waits for another one to wake up:
`taskset -c 1 python -m benchmarks.lockout --rounds 1 --names 500`.
A name in the memory test fails once, four names an address; all windows last an hour there, so
that nothing ends while others are added. `axes-cache-3` counts in the three dimensions of ours.
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

from benchmarks.lockout_guards import ROOT, Worker, create_database, environment_of, log
from benchmarks.lockout_report import OPERATIONS, print_marks, print_table

GUARDS = [
    *("plain", "axes-db", "axes-cache", "axes-cache-3"),
    *("defender", "allauth", "crossauth"),
]
# These keep nothing in Redis.
WITHOUT_REDIS = {"plain", "axes-db"}
SLICE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guards", default=",".join(GUARDS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
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
    print_marks(results)


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
        for guard in workers:
            if guard not in WITHOUT_REDIS:
                results[guard]["memory"] = memory(guard, options, redis.url)
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


def memory(guard, options, redis_url):
    """Let several processes fail to sign in with names of their own, and ask Redis before and after."""
    from redis import Redis

    workers = [Worker(guard, window=3600) for _ in range(options.processes)]
    try:
        with Redis.from_url(redis_url) as redis:
            redis.flushall()
            for number, worker in enumerate(workers):
                # Whatever is made once is made before.
                worker.ask("fill", [-8 * (number + 1), 4])
            before = size(redis)
            fill(guard, workers, options.names)
            after = size(redis)
    finally:
        for worker in workers:
            worker.close()
    keys, size_in_bytes = (
        (a - b) / options.names for a, b in zip(after, before, strict=True)
    )
    return {"keys": keys, "bytes": size_in_bytes}


def fill(guard, workers, names):
    begun, slices = time.monotonic(), list(range(0, names, SLICE))
    for turn in range(0, len(slices), len(workers)):
        asked = []
        for start, worker in zip(slices[turn:], workers, strict=False):
            worker.send("fill", [start, min(SLICE, names - start)])
            asked.append((start, worker))
        for start, worker in asked:
            worker.receive()
            if start % 10_000 == 0:
                seconds = time.monotonic() - begun
                log(f"{guard}: {start + SLICE} of {names} names, {seconds:.0f} s")


def size(redis):
    """Return how many keys there are, in all databases, and how many bytes they take."""
    keys = sum(each["keys"] for each in redis.info("keyspace").values())
    return keys, redis.info("memory")["used_memory"]


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
        # A line for each guess, from some.
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        reached = []
        with Redis.from_url(redis_url, db=9) as redis:
            redis.flushall()  # guards of one make know each other's names
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


if __name__ == "__main__":
    main()
