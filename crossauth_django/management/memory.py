"""What a command has to say about a cache that lives in the memory of each process."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from crossauth_django.conf import conf
from crossauth_django.stores import engine_of


def warn(command: BaseCommand) -> None:
    """Say on stderr that this process has not the locks of the server, where it has not."""
    if engine_of() != "memory":
        return
    text = (
        f"CACHES[{conf.CROSSAUTH_CACHE_ALIAS!r}] is in the memory of each process: the locks of "
        "a running server are neither seen nor ended from here. Restart the server to end "
        "them, or point CROSSAUTH_CACHE_ALIAS at Redis."
    )
    command.stderr.write(command.style.WARNING(text))
