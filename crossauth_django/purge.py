"""Deletes what has expired, in short transactions: which tables, which rows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps.registry import Apps
from django.conf import settings
from django.db import connections, models, router, transaction
from django.utils import timezone

from crossauth_django.conf import conf
from crossauth_django.models import SessionsEnd, SocialAccount, UserSession
from crossauth_django.sessions.purging import purgeable, purgeable_ends
from crossauth_django.stores import backend_of
from crossauth_django.stores.portable import SLACK_SECONDS


@dataclass(frozen=True)
class Table:
    """A table with rows that expire.

    ``expired`` selects those that had expired at an aware moment. They are deleted by one
    statement, without signals and cascades; where ``wipes`` names columns, the rows stay and
    these columns become NULL.
    """

    model: type[models.Model]
    expired: Callable[[datetime], models.Q]
    wipes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.model._meta.db_table

    def rows(self, database: str, before: datetime) -> models.QuerySet[Any]:
        """Return what ``purge`` would work on."""
        everything = self.model._base_manager.using(database)
        rows: models.QuerySet[Any] = everything.filter(self.expired(before))
        return rows

    def databases(self, only: str | None = None) -> list[str]:
        """Return where the routers put the table and it exists, or ``only`` that one of them."""
        wanted = only or router.db_for_write(self.model)
        if not router.allow_migrate_model(wanted, self.model):
            return []
        with connections[wanted].cursor() as cursor:
            names = connections[wanted].introspection.table_names(cursor)
        return [wanted] if self.name in names else []


_registered: dict[str, Table] = {}


def register(table: Table) -> None:
    """Let ``crossauth_purge`` look after ``table`` too; called from ``AppConfig.ready()``."""
    _registered[table.name] = table


register(Table(UserSession, purgeable))
# After the rows that have met them.
register(Table(SessionsEnd, purgeable_ends))


def tables() -> list[Table]:
    """Return every registered table, and that of ``DatabaseCache`` where it is configured."""
    return [*_registered.values(), *_cache_tables()]


def provider_tokens() -> Table:
    """Return the access tokens that have expired and that nobody can refresh."""
    return Table(
        SocialAccount,
        lambda before: models.Q(
            access_token__isnull=False,
            refresh_token__isnull=True,
            access_token_expires_at__lt=before,
        ),
        wipes=("access_token",),
    )


def purge(
    table: Table, database: str, before: datetime, batch_size: int
) -> Iterator[int]:
    """Work through ``table`` by primary key and yield the size of each batch that is done.

    Memory stays flat, each batch is committed by itself, and a row that is renewed meanwhile
    stays: the deletion looks at the expiry again. Whatever stops the loop leaves whole batches.
    """
    rows = table.rows(database, before).order_by("pk")
    last = None
    while True:
        beyond = rows if last is None else rows.filter(pk__gt=last)
        # Read before the transaction: one that has read cannot wait for a writer on SQLite.
        keys = list(beyond.values_list("pk", flat=True)[:batch_size])
        if not keys:
            return
        last = keys[-1]
        with transaction.atomic(using=database):
            done = _take(table, database, beyond.filter(pk__lte=last).order_by())
        yield done


def _take(table: Table, database: str, batch: Any) -> int:
    if table.wipes:
        return int(batch.update(**dict.fromkeys(table.wipes)))
    # Not delete(): a receiver for all models would make it read first and delete by key, what
    # was renewed in between included.
    return int(batch._raw_delete(database))  # noqa: SLF001


def _cache_tables() -> list[Table]:
    alias = conf.CROSSAUTH_CACHE_ALIAS
    ancestry = (
        f"{base.__module__}.{base.__qualname__}" for base in backend_of(alias).__mro__
    )
    if "django.core.cache.backends.db.DatabaseCache" not in ancestry:
        return []
    # Told to the routers as Django's cache tells it to them.
    model = type(
        "CacheEntry",
        (models.Model,),
        {
            "__module__": __name__,
            "cache_key": models.CharField(max_length=255, primary_key=True),
            "expires": models.DateTimeField(),
            "Meta": type(
                "Meta",
                (),
                {
                    "app_label": "django_cache",
                    "apps": Apps(),
                    "db_table": settings.CACHES[alias]["LOCATION"],
                    "managed": False,
                },
            ),
        },
    )
    # A worker's clock may be behind; the store allows for as much.
    slack = timedelta(seconds=SLACK_SECONDS)

    def expired(before: datetime) -> models.Q:
        before -= slack
        # Stored as Django's cache does it: local time where USE_TZ is off.
        moment = before if settings.USE_TZ else timezone.make_naive(before)
        return models.Q(expires__lt=moment)

    return [Table(model, expired)]
