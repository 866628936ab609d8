"""``manage.py crossauth_purge``: delete what has expired."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from crossauth_django import purge
from crossauth_django.fields import utc_now

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class Command(BaseCommand):
    help = (
        "Deletes expired rows, in batches that are committed one by one; stop it whenever you "
        "like. Entries without a lifetime never expire: CROSSAUTH_SECONDARY_STORAGE_MAX_TTL "
        "gives one to what is stored from then on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size", type=int, default=1000, help="rows a transaction (1000)"
        )
        parser.add_argument(
            "--older-than",
            default="0s",
            help="expired for at least so long: 7d, 12h, 30m",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="count, and change nothing"
        )
        parser.add_argument(
            "--database",
            choices=tuple(connections),
            help="only the tables in this one; without it, each where the routers put it",
        )
        parser.add_argument(
            "--provider-tokens",
            action="store_true",
            help="also wipe stored provider tokens that have expired and cannot be refreshed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch_size"] < 1:
            raise CommandError("--batch-size must be at least 1.")
        before = _moment(options["older_than"])
        tables = purge.tables()
        if options["provider_tokens"]:
            tables.append(purge.provider_tokens())
        self._counts: dict[str, int] = {}
        self._is_stopped = False
        try:
            for table in tables:
                for database in table.databases(options["database"]):
                    self._work(table, database, before, options)
        except KeyboardInterrupt:
            self._report(options)
            raise CommandError(
                "Stopped between two batches; the next run goes on.", returncode=130
            ) from None
        self._report(options)

    def _work(
        self,
        table: purge.Table,
        database: str,
        before: datetime,
        options: dict[str, Any],
    ) -> None:
        what = f"{database}.{table.name}" + "".join(f".{each}" for each in table.wipes)
        self._counts[what] = 0
        if options["dry_run"]:
            self._counts[what] = table.rows(database, before).count()
            return
        with self._stopping_between_batches():
            for done in purge.purge(table, database, before, options["batch_size"]):
                self._counts[what] += done
                if options["verbosity"] > 0 and self.stdout.isatty():
                    self.stdout.write(f"\r{what}: {self._counts[what]:,}", ending="")
                    self.stdout.flush()
                if self._is_stopped:
                    raise KeyboardInterrupt

    @contextlib.contextmanager
    def _stopping_between_batches(self) -> Iterator[None]:
        """Let the first Ctrl-C wait for the batch that is under way, and the second end it.

        Drivers and transactions have moments at which they make another error of it.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self._is_stopped = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        # Whoever has another handler, or ignores it, has said what shall happen; and Python sets
        # one in the main thread only.
        is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not is_ours or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _report(self, options: dict[str, Any]) -> None:
        if options["verbosity"] < 1:
            return
        if self.stdout.isatty():
            self.stdout.write("\r\x1b[K", ending="")  # over what may be longer
        if not self._counts:
            self.stdout.write(
                "There is no table to purge here. Has `manage.py migrate` been run?"
            )
        verb = "would be purged" if options["dry_run"] else "purged"
        for what, count in self._counts.items():
            self.stdout.write(f"{what}: {count:,} {verb}")


def _moment(older_than: str) -> datetime:
    found = re.fullmatch(r"(\d+)([dhms])", older_than, re.ASCII)
    try:
        if found:
            return utc_now() - timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        pass
    raise CommandError(
        f"--older-than {older_than!r} is no duration. Type a number and d, h, m or s: 7d."
    )
