from __future__ import annotations

import base64
import itertools
import json
import sys
import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from crossauth_django import crypto, devices
from crossauth_django.exceptions import AccountMissingError, InvalidCursorError
from crossauth_django.models import UserSession
from crossauth_django.storage import SessionStorage
from tests.accounts.conftest import make_user
from tests.sessions import conftest
from tests.sessions.conftest import PASSWORD, run, sign_in, whoami

site = conftest.site
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
ORDERS = [
    f"{field}_{direction}"
    for field in ("updated_at", "created_at", "expires_at")
    for direction in ("desc", "asc")
]
storage = SessionStorage()
numbers = itertools.count()


@pytest.fixture
def user(db):
    return make_user("ann@example.org", PASSWORD)


def create(user, **changes):
    values = {
        "token_hash": f"hash {next(numbers)}",
        "user_id": user.pk,
        "created_at": NOW,
        "updated_at": NOW,
        "expires_at": NOW + HOUR,
        **changes,
    }
    return storage.create(**values)


@pytest.mark.parametrize("field", ["password", "email"])
def test_a_token_of_other_credentials_is_not_found(
    user, django_assert_num_queries, field
):
    record = create(user)
    get_user_model().objects.filter(pk=user.pk).update(**{field: "another"})
    with django_assert_num_queries(1):
        assert storage.get(token_hash=record.token_hash, now=NOW) is None


def test_what_is_created_is_found_as_it_was(user):
    record = create(
        user,
        token_hash="x" * 64,
        user_id=str(user.pk),
        client_id="id",
        client_name="name",
        user_agent="agent " * 1000,
        ip="any text",
        last_active_at=NOW,
    )
    found = storage.get(token_hash="x" * 64, now=NOW)
    assert (found.id, found.user_id) == (record.id, user.pk)
    for name in ("created_at", "updated_at", "last_active_at"):
        assert getattr(found, name) == NOW
    assert (found.expires_at, found.revoked_at) == (NOW + HOUR, None)
    assert (found.client_id, found.client_name, found.ip) == ("id", "name", "any text")
    assert found.user_agent == "agent " * 1000
    assert found.status == "expired"


def test_what_is_not_said_is_none(user):
    found = storage.get_any(create(user).id)
    for name in ("client_id", "client_name", "user_agent", "ip", "last_active_at"):
        assert getattr(found, name) is None


@pytest.mark.parametrize(
    "text", ["nul\0", "\ud800", "\0\ud800", "", "🔑", "x" * 100_000]
)
def test_what_describes_a_client_is_any_text(user, text):
    names = ("client_id", "client_name", "user_agent", "ip")
    found = storage.get_any(create(user, **dict.fromkeys(names, text)).id)
    # As it was, but for what no database stores.
    kept = text.replace("\0", "").replace("\ud800", "?")
    assert [getattr(found, name) for name in names] == [kept] * 4


@pytest.mark.parametrize(
    "token_hash", ["", "nul\0", "\ud800", "x" * 256, None, b"bytes"]
)
def test_what_is_no_digest_is_refused_and_no_database_error(user, token_hash):
    with transaction.atomic():
        with pytest.raises(ValueError, match="token_hash"):
            create(user, token_hash=token_hash)
        assert storage.list_for_user(user.pk, now=NOW).records == []


def test_a_digest_is_unique_and_compared_exactly(user):
    create(user, token_hash="abc")
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            create(user, token_hash="abc")
        # The caller's transaction is usable.
        assert storage.get(token_hash="ABC", now=NOW) is None


@pytest.mark.parametrize("token_hash", ["", "\0", "\ud800", "missing"])
def test_no_digest_is_nobodys(user, token_hash):
    assert storage.get(token_hash=token_hash, now=NOW) is None


@pytest.mark.parametrize(
    "user_id", ["", "\0", b"bytes", -1, 2**63, 10**100, None, object()]
)
def test_an_unknown_user_has_no_sessions(user, user_id):
    with pytest.raises(AccountMissingError):
        create(user, user_id=user_id)
    assert storage.list_for_user(user_id, now=NOW).records == []
    assert storage.revoke_all_for_user(user_id, revoked_at=NOW) == 0


def test_it_is_active_up_to_and_including_its_last_moment(user):
    record = create(user, token_hash="a", expires_at=NOW)
    assert storage.get(token_hash="a", now=NOW).id == record.id
    assert storage.get(token_hash="a", now=NOW + timedelta(microseconds=1)) is None
    assert storage.get_any(str(record.id)).id == record.id


@pytest.mark.parametrize(
    "session_id", ["", "\0", "x", b"bytes", 1, -1, 10**100, None, uuid.UUID(int=7)]
)
def test_an_id_that_names_none_is_none(user, session_id):
    assert storage.get_any(session_id) is None
    assert storage.refresh(session_id, updated_at=NOW, expires_at=NOW) is None
    storage.revoke(session_id, revoked_at=NOW)


def test_refresh_extends(user):
    record = create(user, last_active_at=NOW)
    later = NOW + HOUR
    found = storage.refresh(record.id, updated_at=later, expires_at=later + HOUR)
    assert (found.updated_at, found.expires_at) == (later, later + HOUR)
    assert found.last_active_at == NOW
    found = storage.refresh(
        str(record.id), updated_at=later, expires_at=later, last_active_at=later
    )
    assert found.last_active_at == later


def test_refresh_revives_nothing(user):
    expired, revoked = create(user), create(user)
    storage.revoke(revoked.id, revoked_at=NOW)
    later = NOW + HOUR + timedelta(microseconds=1)
    assert (
        storage.refresh(expired.id, updated_at=later, expires_at=later + HOUR) is None
    )
    assert storage.refresh(revoked.id, updated_at=NOW, expires_at=later + HOUR) is None
    assert storage.get_any(expired.id).expires_at == NOW + HOUR
    assert storage.get_any(revoked.id).expires_at == NOW + HOUR


def test_the_first_revocation_keeps_its_time(user):
    record = create(user)
    storage.revoke(record.id, revoked_at=NOW)
    storage.revoke(record.id, revoked_at=NOW + HOUR)
    found = storage.get_any(record.id)
    assert (found.revoked_at, found.status, found.updated_at) == (NOW, "revoked", NOW)


def test_revoke_all_counts_what_ended_now(user):
    stranger = make_user("bob@example.org")
    records = [create(user) for _ in range(4)]
    foreign = create(stranger)
    storage.revoke(records[0].id, revoked_at=NOW)
    spared = str(records[1].id)
    assert (
        storage.revoke_all_for_user(user.pk, revoked_at=NOW, except_session_id=spared)
        == 2
    )
    assert (
        storage.revoke_all_for_user(
            user.pk, revoked_at=NOW, except_session_id="garbage"
        )
        == 1
    )
    assert storage.get_any(foreign.id).status != "revoked"
    assert (
        storage.revoke_all_for_user(
            stranger.pk, revoked_at=NOW, except_session_id=spared
        )
        == 1
    )


def pages(user, **options):
    cursor, found = None, []
    while True:
        page = storage.list_for_user(user.pk, now=NOW, cursor=cursor, **options)
        found.append([record.id for record in page.records])
        cursor = page.next_cursor
        if cursor is None:
            return found


def spread(user):
    """Ten sessions with equal and different times."""
    return [
        create(
            user,
            created_at=NOW + n // 3 * HOUR,
            updated_at=NOW + n % 4 * HOUR,
            expires_at=NOW + (n - 5) // 2 * HOUR,
        )
        for n in range(10)
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 3, 10, 50])
def test_pages_hold_everything_once_in_order(user, order, limit):
    records = spread(user)
    create(make_user("bob@example.org"))
    found = pages(user, order_by=order, limit=limit)
    records = {record.id: record for record in records}
    assert all(len(page) <= limit for page in found)
    found = list(itertools.chain.from_iterable(found))
    field, _, direction = order.rpartition("_")
    times = [getattr(records[pk], field) for pk in found]
    assert times == sorted(times, reverse=direction == "desc")
    # Equal times have an order, too: that of the ids, as the database compares them.
    assert [found] == pages(user, order_by=order)
    assert sorted(found) == sorted(records)


@pytest.mark.parametrize("order", ORDERS)
def test_pages_are_stable_under_inserts_and_revocations(user, order):
    spread(user)
    expected = list(itertools.chain.from_iterable(pages(user, order_by=order)))
    first = storage.list_for_user(user.pk, now=NOW, order_by=order, limit=4)
    # Before everything that is still to come, and in what has been seen.
    edge = {"desc": NOW + 100 * HOUR, "asc": NOW - 100 * HOUR}[order.rpartition("_")[2]]
    create(user, created_at=edge, updated_at=edge, expires_at=edge)
    storage.revoke(first.records[-1].id, revoked_at=NOW)
    rest = storage.list_for_user(
        user.pk, now=NOW, order_by=order, cursor=first.next_cursor
    )
    assert [record.id for record in (*first.records, *rest.records)] == expected


def test_a_status_selects(user):
    active, expired, revoked = (
        create(user),
        create(user, expires_at=NOW - HOUR),
        create(user),
    )
    storage.revoke(revoked.id, revoked_at=NOW)
    for status, record in (
        ("active", active),
        ("expired", expired),
        ("revoked", revoked),
    ):
        assert pages(user, status=status) == [[record.id]]
    with pytest.raises(ValueError, match="status"):
        pages(user, status="sleeping")


def encoded(payload):
    return base64.urlsafe_b64encode(json.dumps(payload).encode()).decode()


ID = "0" * 32
VALUE = NOW.isoformat()


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "\0", "ü", "=" * 7, "x" * 100_000),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
        *map(encoded, [None, 1, {}, [], ["updated_at_desc"], "abc"]),
        encoded(["created_at_desc", VALUE, ID]),
        encoded(["updated_at_desc", 1, ID]),
        encoded(["updated_at_desc", "yesterday", ID]),
        encoded(["updated_at_desc", VALUE, "1"]),
        encoded(["updated_at_desc", VALUE, ID + "\n"]),
        encoded(["updated_at_desc", VALUE, 1]),
        encoded(["updated_at_desc", VALUE, [ID]]),
        encoded(["updated_at_desc", "0001-01-01T00:00:00+14:00", ID]),
        encoded(["updated_at_desc", "9999-12-31T23:59:59-14:00", ID]),
        encoded(["updated_at_desc", "9999-01-01T00:00:00+00:00", ID]),
    ],
)
def test_cursors_that_are_not_ours_are_refused(user, cursor):
    with pytest.raises(InvalidCursorError):
        storage.list_for_user(user.pk, now=NOW, cursor=cursor)


@pytest.mark.parametrize("noise", ["garbage!", "*!\n", " ", "\n", "="])
def test_a_cursor_with_anything_in_it_is_refused(user, noise):
    create(user), create(user)
    cursor = storage.list_for_user(user.pk, now=NOW, limit=1).next_cursor
    for wrong in (cursor + noise, cursor[:9] + noise + cursor[9:], noise + cursor):
        with pytest.raises(InvalidCursorError):
            storage.list_for_user(user.pk, now=NOW, cursor=wrong)


def test_the_largest_limit_is_one_that_a_database_takes(user):
    create(user)
    assert len(storage.list_for_user(user.pk, now=NOW, limit=2**63 - 2).records) == 1


def test_a_cursor_belongs_to_its_order(user):
    spread(user)
    cursor = storage.list_for_user(user.pk, now=NOW, limit=1).next_cursor
    with pytest.raises(ValueError, match="order"):
        storage.list_for_user(
            user.pk, now=NOW, order_by="updated_at_asc", cursor=cursor
        )


@pytest.mark.parametrize(
    "options",
    [
        *({"limit": 0}, {"limit": -1}, {"limit": 2**63}, {"limit": 2**63 - 1}),
        *({"order_by": "id_asc"}, {"order_by": ["updated_at_asc"]}),
    ],
)
def test_impossible_pages_are_refused(user, options):
    with pytest.raises(ValueError, match=r"limit|order"):
        storage.list_for_user(user.pk, now=NOW, **options)


def test_browsers_and_tokens_are_in_one_list(user):
    browser = sign_in(user)
    create(user, expires_at=NOW + 10**5 * HOUR)
    assert sorted(device.kind for device in devices.list_sessions(user)) == [
        "browser",
        "token",
    ]
    (record,) = UserSession.objects.filter(kind="browser")
    whoami(browser)
    storage.revoke(record.id, revoked_at=datetime.now(tz=timezone.utc))
    assert whoami(browser) == ""


def test_the_cookie_of_a_browser_is_no_bearer_token(user):
    browser = sign_in(user)
    digest = crypto.digest(browser.cookies["sessionid"].value)
    record = UserSession.objects.get(token_hash=digest)
    now = datetime.now(tz=timezone.utc)
    assert storage.get(token_hash=digest, now=now) is None
    assert storage.refresh(record.pk, updated_at=now, expires_at=now + HOUR) is None
    assert storage.get_any(record.pk).expires_at == record.expires_at
    assert storage.revoke_all_for_user(user.pk, revoked_at=now) == 1


def test_a_new_password_ends_them(user):
    record = create(user)
    user.set_password("battery staple")
    user.save()
    assert storage.get_any(record.id).status == "revoked"


def test_deleting_the_user_ends_them(user):
    record = create(user)
    user.delete()
    assert storage.get_any(record.id) is None


def test_visitors_rows_are_nobodys(user):
    UserSession.objects.create(token_hash="visitor", expires_at=NOW + HOUR)
    assert storage.get(token_hash="visitor", now=NOW) is None
    assert storage.get_any(UserSession.objects.get().pk) is None


def test_on_commit_waits_for_the_outermost_commit(transactional_db):
    called = []
    storage.on_commit(lambda: called.append(1))
    assert called == [1]
    with transaction.atomic():
        with transaction.atomic():
            storage.on_commit(lambda: called.append(2))
        assert called == [1]
    assert called == [1, 2]
    with transaction.atomic():
        storage.on_commit(lambda: called.append(3))
        transaction.set_rollback(True)
    assert called == [1, 2]
    with pytest.raises(ZeroDivisionError):
        storage.on_commit(lambda: 1 / 0)


def test_every_method_works_on_a_running_loop(transactional_db):
    user = make_user("ann@example.org")

    async def use():
        record = create(user, token_hash="loop")
        assert storage.get(token_hash="loop", now=NOW).id == record.id
        assert storage.get_any(record.id).id == record.id
        assert len(storage.list_for_user(user.pk, now=NOW).records) == 1
        assert storage.refresh(record.id, updated_at=NOW, expires_at=NOW)
        storage.revoke(record.id, revoked_at=NOW)
        assert storage.revoke_all_for_user(user.pk, revoked_at=NOW) == 0
        called = []
        storage.on_commit(lambda: called.append(1))
        return called

    assert run(use()) == [1]


def test_where_cross_auth_is_loaded_the_refusal_is_its_own_too(user, monkeypatch):
    class TheirError(ValueError):
        pass

    library = SimpleNamespace(InvalidCursorError=TheirError)
    monkeypatch.setitem(sys.modules, "cross_auth.exceptions", library)
    with pytest.raises(TheirError) as caught:
        storage.list_for_user(user.pk, now=NOW, cursor="not one")
    assert isinstance(caught.value, InvalidCursorError)
