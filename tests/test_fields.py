from __future__ import annotations

from datetime import datetime, timezone

import pytest
from django.conf import settings as project
from django.db import connections

from crossauth_django.models import UserSession

# In Chicago: both 01:10 when summer ends, and an hour that, as local time, there is not.
MOMENTS = [
    datetime(2026, 11, 1, 6, 10, tzinfo=timezone.utc),
    datetime(2026, 11, 1, 7, 10, tzinfo=timezone.utc),
    datetime(2026, 3, 8, 2, 30, tzinfo=timezone.utc),
]


@pytest.mark.django_db(databases=list(project.DATABASES))
@pytest.mark.parametrize("alias", list(project.DATABASES))
@pytest.mark.parametrize("use_tz", [True, False])
def test_every_moment_comes_back_as_it_was(alias, use_tz, settings):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "America/Chicago"
    rows = UserSession.objects.using(alias)
    for moment in MOMENTS:
        row = rows.create(token_hash=str(moment), expires_at=moment, revoked_at=None)
        row.refresh_from_db()
        assert (row.expires_at, row.revoked_at) == (moment, None)
        assert rows.get(expires_at=moment).pk == row.pk
    assert sorted(rows.values_list("expires_at", flat=True)) == sorted(MOMENTS)


@pytest.mark.django_db
@pytest.mark.parametrize("use_tz", [True, False])
def test_a_naive_value_is_taken_for_utc(use_tz, settings):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "America/Chicago"
    UserSession.objects.create(
        token_hash="a", expires_at=MOMENTS[1].replace(tzinfo=None)
    )
    assert UserSession.objects.get().expires_at == MOMENTS[1]


@pytest.mark.django_db(databases=list(project.DATABASES))
@pytest.mark.skipif("postgres" not in project.DATABASES, reason="it does not run here")
def test_a_digest_has_one_index():
    with connections["postgres"].schema_editor(
        collect_sql=True, atomic=False
    ) as editor:
        editor.create_model(UserSession)
    # Django makes a second one, for LIKE, of what it takes for text.
    assert "pattern_ops" not in "\n".join(map(str, editor.collected_sql))
