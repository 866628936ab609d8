"""``manage.py demo``: the example, with a provider to sign in with, on this machine alone."""

from __future__ import annotations

import contextlib
import io
import socket
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import (
    Command as RunserverCommand,
)
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from crossauth_django.exceptions import StoreUnavailableError
from crossauth_django.storage import SecondaryStorage
from example_project import demo_account
from example_project.provider import run_provider

READY = """
  The demo runs. Open this page in a browser:

      {site}

  Then click "Sign in" and take either way:

      Password         {email}
                       {password}
      Local OpenID     a provider on this machine, {issuer}

  It uses {cache} and {database}. Ctrl-C ends it.
"""


class Server(RunserverCommand):
    """Django's development server, which prints ``announcement`` once it is reachable."""

    announcement = ""

    def on_bind(self, server_port: int) -> None:
        print(self.announcement, flush=True)  # noqa: T201  (its own stdout is muted)


class Command(BaseCommand):
    help = "Migrates, makes a demo account, starts a local OpenID provider and serves the site."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="Default: 8000.")

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo account's password is public: DEBUG only.")
        if not 1 <= port <= 65535:
            raise CommandError("--port takes a number from 1 to 65535.")
        if not _is_free(port):
            raise CommandError(
                f"Port {port} is taken by another program. Choose another one:\n"
                f"  python manage.py demo --port {port + 1}"
            )
        try:
            SecondaryStorage().get("demo")
        except StoreUnavailableError as error:
            raise CommandError(
                f"The cache does not answer, and without it nobody signs in: {error}\n"
                "Unset REDIS_URL for a cache in memory, or start that server."
            ) from error
        call_command("migrate", verbosity=0)
        demo_account.make()
        with run_provider() as issuer:
            settings.CROSSAUTH_PROVIDERS["local"]["issuer"] = issuer
            self._serve(port, issuer)

    def _serve(self, port: int, issuer: str) -> None:
        server = Server(stdout=io.StringIO(), stderr=self.stderr)
        server.announcement = self.style.SUCCESS(_announcement(port, issuer))
        try:
            call_command(
                server, f"127.0.0.1:{port}", use_reloader=False, skip_checks=True
            )
        except SystemExit:
            # Django's server turns Ctrl-C into this.
            self.stdout.write("\n  The demo has ended.")


def _announcement(port: int, issuer: str) -> str:
    backend = settings.CACHES["default"]["BACKEND"].rpartition(".")[2]
    vendor = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return READY.format(
        site=f"http://127.0.0.1:{port}/",
        email=demo_account.EMAIL,
        password=demo_account.PASSWORD,
        issuer=issuer,
        cache=backend,
        database=vendor,
    )


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as listener:
        # As the server will: an address that a closed connection lingers on is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
