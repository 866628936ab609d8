from __future__ import annotations

import io
import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.db.models import Q

from crossauth_django import purge
from crossauth_django.models import SocialAccount
from tests.people import make_user

DATABASES = list(django_settings.DATABASES)
ACCESS = "access_token"


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    """A database whose cache table is the store; the table is emptied again."""
    settings.CROSSAUTH_CACHE_ALIAS = f"database_{request.param}"
    caches[f"database_{request.param}"].clear()
    yield request.param
    caches[f"database_{request.param}"].clear()


pytestmark = pytest.mark.django_db(transaction=True, databases=DATABASES)


def add_rows(database: str, number: int, *, expired: timedelta) -> list[str]:
    """Put rows into the cache table that expired so long ago, and return their keys."""
    connection = connections[database]
    moment = datetime.now(tz=timezone.utc).replace(microsecond=0) - expired
    expires = connection.ops.adapt_datetimefield_value(moment)
    keys = [f":1:crossauth:{secrets.token_urlsafe(24)}" for _ in range(number)]
    with transaction.atomic(using=database), connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO cache_{database} (cache_key, value, expires) VALUES (%s, 'x', %s)",
            [(key, expires) for key in keys],
        )
    return keys


def keys_left(database: str) -> set[str]:
    with connections[database].cursor() as cursor:
        cursor.execute(f"SELECT cache_key FROM cache_{database}")
        return {key for (key,) in cursor.fetchall()}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("crossauth_purge", *arguments, stdout=out)
    return out.getvalue()


MINUTE = timedelta(minutes=1)


class Nowhere:
    """A router that puts no table anywhere."""

    def allow_migrate(self, *args: Any, **hints: Any) -> bool:
        return False


def test_where_no_table_is_the_purge_says_so(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [Nowhere()]
    assert "manage.py migrate" in run()


def test_expired_rows_go_and_live_rows_stay(database):
    add_rows(database, 2500, expired=MINUTE)
    live = add_rows(database, 50, expired=-MINUTE)
    assert f"{database}.cache_{database}: 2,500 purged\n" in run()
    assert keys_left(database) == set(live)


def test_each_batch_is_committed_by_itself(database):
    add_rows(database, 2500, expired=MINUTE)
    table = purge.tables()[-1]
    batches = purge.purge(table, database, datetime.now(tz=timezone.utc), 1000)
    assert next(batches) == 1000
    assert not connections[database].in_atomic_block
    assert len(keys_left(database)) == 1500
    assert list(batches) == [1000, 500]


def test_a_row_that_is_renewed_meanwhile_stays(database):
    renewed, _ = add_rows(database, 2, expired=MINUTE)

    def renew_first(
        execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.startswith("DELETE"):
            year = {"year": datetime.now(tz=timezone.utc).year + 1}
            later = datetime.now(tz=timezone.utc).replace(microsecond=0, day=1, **year)
            expires = connections[database].ops.adapt_datetimefield_value(later)
            update = f"UPDATE cache_{database} SET expires = %s WHERE cache_key = %s"
            execute(update, (expires, renewed), False, context)
        return execute(sql, params, many, context)

    with connections[database].execute_wrapper(renew_first):
        run()
    assert keys_left(database) == {renewed}


def test_a_live_value_of_the_store_survives_and_an_expired_one_goes(database):
    cache = caches[f"database_{database}"]
    cache.set("live", "value", 600)
    cache.set("for-ever", "value", None)
    add_rows(database, 1, expired=MINUTE)
    run()
    assert cache.get("live") == cache.get("for-ever") == "value"
    assert len(keys_left(database)) == 2


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Chicago"])
def test_local_time_without_use_tz_is_understood(database, settings, zone):
    settings.USE_TZ, settings.TIME_ZONE = False, zone
    cache = caches[f"database_{database}"]
    cache.set("live", "value", 600)
    with time_machine.travel(time.time() - 600):
        cache.set("expired", "value", 300)
    run()
    assert cache.get("live") == "value"
    assert len(keys_left(database)) == 1


@pytest.mark.parametrize("asked", ["8d", "192h", "11520m", "691200s"])
def test_older_than_spares_what_expired_lately(settings, asked):
    settings.CROSSAUTH_CACHE_ALIAS = "database_default"
    caches["database_default"].clear()
    lately = add_rows("default", 1, expired=timedelta(days=7, hours=23))
    add_rows("default", 1, expired=timedelta(days=8, hours=1))
    run("--older-than", asked)
    assert keys_left("default") == set(lately)
    caches["database_default"].clear()


@pytest.mark.parametrize(
    "wrong",
    ["", "7", "d", "7 d", "-7d", "7w", "1.5h", "٣d", "9999999d", "9" * 30 + "d"],
)
def test_a_duration_that_is_none_says_what_to_type(wrong):
    with pytest.raises(CommandError, match="7d"):
        run(f"--older-than={wrong}")


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(CommandError, match="--batch-size"):
        run("--batch-size=0")


def test_a_dry_run_counts_and_changes_nothing(database):
    keys = add_rows(database, 3, expired=MINUTE)
    assert f"{database}.cache_{database}: 3 would be purged\n" in run("--dry-run")
    assert keys_left(database) == set(keys)


def test_database_leaves_the_tables_of_others_alone(database):
    keys = add_rows(database, 1, expired=MINUTE)
    for other in set(DATABASES) - {database}:
        run("--database", other)
    assert keys_left(database) == set(keys)
    run("--database", database)
    assert not keys_left(database)


def test_an_unknown_database_is_refused():
    with pytest.raises(CommandError, match="--database"):
        run("--database=nowhere")


def test_a_table_that_was_never_made_is_passed_over(settings):
    settings.CACHES = {
        **settings.CACHES,
        "new": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "not_made_yet",
        },
    }
    settings.CROSSAUTH_CACHE_ALIAS = "new"
    assert "not_made_yet" not in run()


def test_verbosity_0_says_nothing(database):
    add_rows(database, 1, expired=MINUTE)
    assert run("--verbosity=0") == ""
    assert not keys_left(database)


def test_a_registered_table_is_purged_too(session_table):
    now = datetime.now(tz=timezone.utc)
    for name, age in {"old": MINUTE, "new": -MINUTE}.items():
        Session.objects.create(session_key=name, expire_date=now - age)
    assert "default.django_session: 1 purged\n" in run()
    assert [session.pk for session in Session.objects.all()] == ["new"]


@pytest.fixture
def session_table() -> Iterator[None]:
    before = dict(purge._registered)
    purge.register(purge.Table(Session, lambda before: Q(expire_date__lt=before)))
    yield
    purge._registered.clear()
    purge._registered.update(before)


@pytest.fixture
def accounts(settings: Any) -> dict[str, SocialAccount]:
    settings.CROSSAUTH_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    user = make_user("ann")
    now = datetime.now(tz=timezone.utc)
    past, future = now - timedelta(days=1), now + timedelta(days=1)
    cases: dict[str, dict[str, Any]] = {
        "worthless": {"access_token_expires_at": past},
        "refreshable": {"access_token_expires_at": past, "refresh_token": "r"},
        "valid": {"access_token_expires_at": future},
        "endless": {"access_token_expires_at": None},
    }
    return {
        name: SocialAccount.objects.create(
            user=user,
            provider="acme",
            provider_user_id=name,
            access_token="a",
            **fields,
        )
        for name, fields in cases.items()
    }


def with_token() -> set[str]:
    rows = SocialAccount.objects.filter(access_token__isnull=False)
    return {row.provider_user_id for row in rows}


def test_provider_tokens_that_nobody_can_use_are_wiped(accounts):
    said = run("--provider-tokens")
    assert f"default.crossauth_django_socialaccount.{ACCESS}: 1 purged\n" in said
    assert with_token() == {"refreshable", "valid", "endless"}
    assert SocialAccount.objects.count() == 4


def test_provider_tokens_stay_unless_asked_for(accounts):
    run()
    run("--provider-tokens", "--older-than=2d")
    run("--provider-tokens", "--dry-run")
    assert with_token() == set(accounts)


class Terminal:
    """``manage.py crossauth_purge`` in a process of its own, on a terminal."""

    def __init__(self, database: str, *arguments: str) -> None:
        names = {alias: connections[alias].settings_dict["NAME"] for alias in DATABASES}
        self._reader, writer = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MANAGE, f"database_{database}", *arguments],
            stdout=writer,
            stderr=writer,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "CROSSAUTH_TEST_DATABASE_NAMES": json.dumps(names, default=str),
            },
        )
        os.close(writer)
        self.text = ""

    def read_until(self, pattern: str) -> None:
        deadline = time.monotonic() + 60
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, self.text
            if not self._read():
                raise AssertionError(self.text)

    def read_to_end(self) -> int:
        while self._read():
            pass
        os.close(self._reader)
        return self.process.wait(60)

    def _read(self) -> bool:
        try:
            data = os.read(self._reader, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.text += data.decode()
        return bool(data)


_MANAGE = """
import sys
import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
django.setup()
settings.CROSSAUTH_CACHE_ALIAS = sys.argv.pop(1)
execute_from_command_line(["manage.py", "crossauth_purge", *sys.argv[1:]])
"""


def test_a_terminal_sees_progress(database):
    add_rows(database, 2500, expired=MINUTE)
    terminal = Terminal(database)
    assert terminal.read_to_end() == 0
    what = f"{database}.cache_{database}: "
    progress = f"\r{what}1,000\r{what}2,000\r{what}2,500\r\x1b[K"
    assert progress in terminal.text
    assert f"{what}2,500 purged\r\n" in terminal.text.partition(progress)[2]


def test_stopping_leaves_whole_batches_and_the_next_run_goes_on(database):
    add_rows(database, 7000, expired=MINUTE)
    live = add_rows(database, 3, expired=-MINUTE)
    terminal = Terminal(database, "--batch-size=7")
    terminal.read_until(r": \d+")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.read_to_end() == 130
    assert "next run goes on" in terminal.text
    assert "Traceback" not in terminal.text
    gone = 7003 - len(keys_left(database))
    assert 0 < gone < 7000
    assert gone % 7 == 0
    run()
    assert keys_left(database) == set(live)


def waits_for_a_row(cursor: Any) -> bool:
    """Say whether somebody waits who works on the table; others' tests run on this server, too."""
    cursor.execute(
        "SELECT count(*) FROM pg_locks AS table_lock JOIN pg_locks AS wanted USING (pid)"
        " WHERE NOT wanted.granted AND table_lock.relation = 'cache_postgres'::regclass"
        " AND table_lock.database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(cursor.fetchone()[0])


def test_a_second_interrupt_waits_for_no_batch(settings):
    if "postgres" not in DATABASES and "CI" not in os.environ:
        pytest.skip("no postgres runs here")
    settings.CROSSAUTH_CACHE_ALIAS = "database_postgres"
    keys = add_rows("postgres", 3, expired=MINUTE)
    with transaction.atomic(using="postgres"):
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT cache_key FROM cache_postgres FOR UPDATE")
            terminal = Terminal("postgres")
            while not waits_for_a_row(cursor):
                time.sleep(0.02)
        terminal.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert terminal.process.poll() is None
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.read_to_end() == 130
    assert keys_left("postgres") == set(keys)
    run()


def test_who_ignores_interrupts_is_left_alone(database):
    add_rows(database, 2, expired=MINUTE)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert keys_left(database) == set()
