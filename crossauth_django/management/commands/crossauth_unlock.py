"""``manage.py crossauth_unlock``: end sign-in locks."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from crossauth_django import lockout
from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.management import memory


class Command(BaseCommand):
    help = (
        "Ends sign-in locks and forgets their rounds. --username and --address together let "
        "this user in from there: the user, the address and the pair of them are forgotten. "
        "--digest ends the locks that crossauth_lockouts lists with it, or with both of two."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", help="in any spelling")
        parser.add_argument(
            "--address", help="an IP address, or the /64 of an IPv6 one"
        )
        parser.add_argument(
            "--digest", nargs="+", default=[], help="as crossauth_lockouts shows it"
        )
        parser.add_argument("--all", action="store_true", help="every lock there is")

    def handle(self, *args: Any, **options: Any) -> None:
        username, address = options["username"], options["address"]
        somebody = username is not None or address is not None
        if [somebody, bool(options["digest"]), options["all"]].count(True) != 1:
            raise CommandError(
                "Say whom: --username, --address or both; or --digest; or --all."
            )
        memory.warn(self)
        try:
            if options["all"]:
                lockout.unlock_all()
                self.stdout.write("Nobody is locked out any more.")
                return
            if somebody:
                count = lockout.unlock(username=username, address=address)
            else:
                count = lockout.unlock_listed(*options["digest"])
            self.stdout.write(f"Counters and locks forgotten: {count}.")
        except ValueError as error:
            raise CommandError(str(error)) from error
        except StoreUnavailableError as error:
            raise CommandError(f"The cache does not answer: {error}") from error
