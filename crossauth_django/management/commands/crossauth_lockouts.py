"""``manage.py crossauth_lockouts``: who is locked out now."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from crossauth_django import lockout
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.management import memory

if TYPE_CHECKING:
    from crossauth_django.lockout import Lock


class Command(BaseCommand):
    help = (
        "Lists the sign-in locks that hold now, the most recent 1,000, with the rule that "
        "fired and the time that remains. Names and addresses are kept encrypted with the "
        "first of CROSSAUTH_ENCRYPTION_KEYS; without one, or with another, their digests are "
        "shown, which crossauth_unlock --digest takes. A name has the same in the security log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="one JSON array, for programs"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            locks = lockout.current_locks()
        except StoreUnavailableError as error:
            raise CommandError(f"The cache does not answer: {error}") from error
        memory.warn(self)
        if options["json"]:
            self.stdout.write(json.dumps([_fields(lock) for lock in locks], indent=2))
            return
        for lock in locks:
            self.stdout.write(
                f"{lock.rule:<8} {lock.remaining_seconds:>5} s  round {lock.round:<2}  "
                f"{_who(lock)}"
            )
        self.stdout.write(f"{len(locks)} locked.")


def _fields(lock: Lock) -> dict[str, Any]:
    fields = dataclasses.asdict(lock)
    del fields["subject"]
    return {**fields, "until": lock.until.isoformat()}


def _who(lock: Lock) -> str:
    parts = []
    if lock.username_digest:
        parts.append(_named("username", lock.username, lock.username_digest))
    if lock.address_digest:
        parts.append(_named("address", lock.address, lock.address_digest))
    return "  ".join(parts)


def _named(label: str, text: str | None, digest: str) -> str:
    # ascii(): a name is anything that somebody typed, and this is a terminal.
    return f"{label} {digest}" if text is None else f"{label} {text!a} ({digest})"
