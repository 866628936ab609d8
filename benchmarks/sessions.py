"""What a session costs: ours beside Django's engines, django-user-sessions, qsessions and allauth.

``python -m benchmarks.sessions [--rounds 60] [--memory 1000] [--postgres]``, with the packages of
the ``bench`` extra. Starts a Redis of its own, and PostgreSQL when asked; the table is a SQLite file
else. Each contender has a process; they take turns, round by round, and the fastest round counts,
so that what else the machine does stays out of it. The latency is that of one signed-in GET through
Django's WSGI handler with the session and authentication middleware.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.settings import configure_django

ROOT = Path(__file__).resolve().parent.parent
REQUESTS = 25
SESSIONS = 1000
BASE = "cache"
BACKENDS = "django.contrib.sessions.backends"
CONTENDERS: dict[str, dict[str, Any]] = {
    "crossauth_django": {"engine": "crossauth_django.sessions"},
    "cache": {"engine": f"{BACKENDS}.cache"},
    "cached_db": {"engine": f"{BACKENDS}.cached_db"},
    "db": {"engine": f"{BACKENDS}.db"},
    "user-sessions": {
        "engine": "user_sessions.backends.db",
        "session_middleware": "user_sessions.middleware.SessionMiddleware",
        "apps": ["user_sessions"],
    },
    "qsessions": {
        "engine": "qsessions.backends.db",
        "session_middleware": "qsessions.middleware.SessionMiddleware",
        "apps": ["qsessions"],
    },
    "allauth": {
        "engine": f"{BACKENDS}.cached_db",
        "apps": ["allauth", "allauth.account", "allauth.usersessions"],
        "middleware": [
            "allauth.account.middleware.AccountMiddleware",
            "allauth.usersessions.middleware.UserSessionsMiddleware",
        ],
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--memory", type=int, default=1000)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    return compare(options)


def compare(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(ROOT))
    from tests import services

    redis = services.start("redis")
    postgres = services.start("postgres") if options.postgres else None
    try:
        workers = {
            name: Worker(name, redis.url, postgres.url if postgres else "", number)
            for number, name in enumerate(CONTENDERS)
        }
        rounds: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                rounds[name].append(worker.ask("get"))
        base = min(rounds[BASE])
        print(f"{'':>18} {'GET ms':>7} {'ratio':>6} {'SQL':>4} {'Redis':>6}", end="")
        print(f" {'list ms':>8} {'SQL':>5} {'end ms':>8} {'SQL':>5} {'bytes':>6}")
        ours = 0.0
        for name, worker in workers.items():
            best = min(rounds[name])
            ours = best / base if name == "crossauth_django" else ours
            print(
                f"{name:>18} {1000 * best:7.3f} {best / base:6.2f}", end="", flush=True
            )
            cost = worker.ask("cost")
            print(f" {cost['sql']:4} {cost['redis']:6}", end="")
            for step in ("list", "end"):
                found = worker.ask(step)
                text = (
                    f"{found['ms']:8.1f} {found['sql']:5}"
                    if found
                    else f"{'-':>8} {'-':>5}"
                )
                print(f" {text}", end="")
            print(f" {worker.ask(f'memory {options.memory}'):6.0f}")
        for worker in workers.values():
            worker.close()
    finally:
        redis.stop()
        if postgres:
            postgres.stop()
    print(
        f"Our GET is {ours:.2f} of Django's bare cache engine; at most 1.10 is the mark."
    )
    return int(ours > 1.1)


class Worker:
    """The process of one contender."""

    def __init__(self, name: str, redis: str, postgres: str, number: int) -> None:
        environment = {
            **os.environ,
            "BENCH_REDIS": f"{redis}/{number}",
            "BENCH_POSTGRES": postgres,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "benchmarks.sessions", "--work", name]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.ask("ready")

    def ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate("")


def work(name: str) -> None:
    """Answer the questions on standard input, in the process of one contender."""
    with tempfile.TemporaryDirectory() as folder:
        configure(CONTENDERS[name], folder)
        bench = Bench(name)
        for line in sys.stdin:
            step, *arguments = line.split()
            print(json.dumps(getattr(bench, step)(*arguments)), flush=True)


def configure(contender: dict[str, Any], folder: str) -> None:
    database: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{folder}/bench.sqlite3",
        "CONN_MAX_AGE": None,
    }
    if url := os.environ["BENCH_POSTGRES"]:
        database = postgres_database(url)
    configure_django(
        SECRET_KEY="only measured, and long enough for every algorithm in use",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        ROOT_URLCONF="benchmarks.sessions_urls",
        DATABASES={"default": database},
        CACHES={
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": os.environ["BENCH_REDIS"],
            }
        },
        SESSION_ENGINE=contender["engine"],
        CROSSAUTH_MAX_SESSIONS_PER_USER=None,
        SILENCED_SYSTEM_CHECKS=["crossauth_django.E020"],
        USERSESSIONS_TRACK_ACTIVITY=True,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        INSTALLED_APPS=[
            *("django.contrib.auth", "django.contrib.contenttypes"),
            *("django.contrib.sessions", "crossauth_django"),
            *contender.get("apps", []),
        ],
        MIDDLEWARE=[
            contender.get(
                "session_middleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
            ),
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            *contender.get("middleware", []),
        ],
        CROSSAUTH_WARN_ON_MEMORY_BACKEND=False,
    )


def postgres_database(url: str) -> dict[str, Any]:
    """Make a database of its own on the server."""
    from urllib.parse import urlsplit

    import psycopg

    name = f"bench_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "CONN_MAX_AGE": None,
    }


class Bench:
    """The steps that are measured, for the contender that is configured."""

    def __init__(self, name: str) -> None:
        from django.contrib.auth import get_user_model
        from django.core.management import call_command
        from django.core.wsgi import get_wsgi_application

        self.name = name
        call_command("migrate", verbosity=0)
        self.user = get_user_model().objects.create_user("ann", "ann@example.org", "x")
        self.handler = get_wsgi_application()
        self.key = self.new_session()
        for _ in range(20):
            self.request()

    def ready(self) -> bool:
        return True

    def get(self) -> float:
        """Seconds a request; a batch is short enough to be left alone now and then."""
        began = time.perf_counter()
        for _ in range(REQUESTS):
            self.request()
        return (time.perf_counter() - began) / REQUESTS

    def cost(self) -> dict[str, int]:
        before = self.commands()
        queries = self.queries(self.request)
        return {"sql": queries, "redis": self.commands() - before}

    def list(self) -> dict[str, Any] | None:
        lister = getattr(self, f"list_{self.name.replace('-', '_')}", None)
        if lister is None:
            return None
        for _ in range(SESSIONS - 1):
            self.new_session()
        # The best of a few, as with the requests; of allauth's, one is enough.
        times = 1 if self.name == "allauth" else 5
        found = [self.timed(lister, SESSIONS) for _ in range(times)]
        return min(found, key=lambda each: each["ms"])

    def end(self) -> dict[str, Any] | None:
        ender = getattr(self, f"end_{self.name.replace('-', '_')}", None)
        if ender is None:
            return None
        found = [self.timed(ender, None)]
        # The best of a few here, too, each time of as many sessions.
        while self.name != "allauth" and len(found) < 4:
            for _ in range(SESSIONS - 1):
                self.new_session()
            found.append(self.timed(ender, None))
        return min(found, key=lambda each: each["ms"])

    def memory(self, count: str) -> float:
        """Bytes of Redis a signed-in session, of so many."""
        server = self.server()
        server.flushdb()
        before = server.info("memory")["used_memory"]
        keys = [self.new_session() for _ in range(int(count))]
        for key in keys:
            self.request(key)
        used = server.info("memory")["used_memory"] - before
        return max(0.0, used / len(keys))

    def list_crossauth_django(self) -> int:
        from crossauth_django import devices

        return len(devices.list_sessions(self.user))

    def end_crossauth_django(self) -> None:
        from crossauth_django import devices

        devices.revoke_others(self.django_request())

    def list_user_sessions(self) -> int:
        from django.utils import timezone

        return len(self.user.session_set.filter(expire_date__gt=timezone.now()))

    def end_user_sessions(self) -> None:
        self.user.session_set.exclude(session_key=self.key).delete()

    list_qsessions, end_qsessions = list_user_sessions, end_user_sessions

    def list_allauth(self) -> int:
        from allauth.usersessions.models import UserSession

        return len(UserSession.objects.purge_and_list(self.user))

    def end_allauth(self) -> None:
        from allauth.core import context
        from allauth.usersessions.internal.flows.sessions import end_other_sessions

        request = self.django_request()
        with context.request_context(request):
            end_other_sessions(request, self.user)

    def new_session(self) -> str:
        """Sign in as the contender's own code does."""
        from django.contrib.auth import login

        request = self.django_request(is_new=True)
        login(request, self.user, "django.contrib.auth.backends.ModelBackend")
        request.session.save()
        if self.name == "allauth":
            from allauth.usersessions.models import UserSession

            UserSession.objects.create_from_request(request)
        return str(request.session.session_key)

    def django_request(self, *, is_new: bool = False) -> Any:
        from importlib import import_module

        from django.conf import settings
        from django.http import HttpRequest

        request = HttpRequest()
        request.META.update(REMOTE_ADDR="127.0.0.1", HTTP_USER_AGENT="bench")
        request.method = "GET"
        store = import_module(settings.SESSION_ENGINE).SessionStore
        key = None if is_new else self.key
        if self.name in ("user-sessions", "qsessions"):
            request.session = store(ip="127.0.0.1", user_agent="bench", session_key=key)
        else:
            request.session = store(key)
        request.user = self.user
        return request

    def request(self, key: str | None = None) -> None:
        answer: list[str] = []
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": "bench",
            "HTTP_COOKIE": f"sessionid={key or self.key}",
            "wsgi.input": sys.stdin,
            "wsgi.url_scheme": "http",
        }
        response = self.handler(environ, lambda status, headers: answer.append(status))
        body = b"".join(response)
        response.close()
        assert (answer[0][:3], body) == ("200", str(self.user.pk).encode()), (
            answer,
            body,
        )

    def timed(self, step: Any, expected: int | None) -> dict[str, Any]:
        found: list[Any] = []
        began = time.perf_counter()
        queries = self.queries(lambda: found.append(step()))
        elapsed = 1000 * (time.perf_counter() - began)
        assert expected is None or found == [expected], found
        return {"ms": elapsed, "sql": queries}

    def queries(self, step: Any) -> int:
        from django.db import connection

        count = 0

        def counted(execute: Any, *arguments: Any) -> Any:
            nonlocal count
            count += 1
            return execute(*arguments)

        with connection.execute_wrapper(counted):
            step()
        return count

    def server(self) -> Any:
        import redis

        return redis.Redis.from_url(os.environ["BENCH_REDIS"])

    def commands(self) -> int:
        stats = self.server().info("commandstats")
        quiet = ("info", "select", "client", "hello", "ping")
        return sum(
            stat["calls"]
            for name, stat in stats.items()
            if not name.removeprefix("cmdstat_").startswith(quiet)
        )


if __name__ == "__main__":
    raise SystemExit(main())
