"""All sessions of a user end by one row, however many they are, and by one stamp in the cache."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
import time_machine
from django.conf import settings as project
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from crossauth_django import crypto, devices, purge
from crossauth_django.fields import utc_now
from crossauth_django.managers.buckets import bucket, bucket_of, key_in
from crossauth_django.managers.copies import LEASE_STEP, get_copies
from crossauth_django.models import SessionsEnd, UserSession
from crossauth_django.sessions import SessionStore
from crossauth_django.storage import SessionStorage
from tests.accounts.conftest import make_user, only_where
from tests.accounts.test_interference import DEADLOCK, fail, watching
from tests.concurrency import run_together
from tests.routers import Everything
from tests.sessions.conftest import PASSWORD, sign_in, whoami
from tests.trips import round_trips

DAY = timedelta(days=1)
on_every_database = pytest.mark.parametrize("alias", list(project.DATABASES))


def later(seconds):
    return time_machine.travel(utc_now() + timedelta(seconds=seconds), tick=False)


def row_of(browser):
    return UserSession.objects.get(token_hash=browser.session.digest)


def new_record(user):
    now = utc_now()
    return SessionStorage().create(
        token_hash="t", user_id=str(user.pk), created_at=now, updated_at=now, expires_at=now + DAY
    )  # fmt: skip


def end_others(user, *spared):
    return UserSession.objects.end_all(user.pk, "user_revoked_all", spared=spared)


# What the rows say.


def test_one_statement_ends_all_and_every_row_says_so(
    user, django_assert_num_queries, django_capture_on_commit_callbacks
):
    browsers = [sign_in(user) for _ in range(3)]
    digests = [browser.session.digest for browser in browsers]
    with django_assert_num_queries(1):
        assert devices.revoke_all(user) == 3
    end = SessionsEnd.objects.get()
    assert (end.user, end.reason, end.sessions) == (user, "logout_all", 3)
    assert str(end) == "logout_all"
    columns = UserSession.objects.filter(revoked_at=None, end_reason="")
    assert columns.count() == 3
    rows = UserSession.objects.filter(token_hash__in=digests)
    for row in [*rows, *user.crossauth_sessions.all()]:
        assert (row.revoked_at, row.end_reason) == (end.ended_at, "logout_all")
        assert row.status == "revoked"
    assert not rows.active().exists()
    assert not rows.not_ended().exists()
    assert devices.list_sessions(user) == []
    found = devices.list_sessions(user, include_ended=True)
    assert {(each.ended_at, each.end_reason) for each in found} == {
        (end.ended_at, "logout_all")
    }
    assert [whoami(browser) for browser in browsers] == ["", "", ""]


def test_a_row_that_is_loaded_in_part_says_so_too(user, browser):
    row = row_of(browser)
    devices.revoke_all(user)
    assert row.status == "active"
    row.refresh_from_db()
    assert row.status == "revoked"
    (part,) = UserSession.objects.only("token_hash")
    assert part.end_reason == "logout_all"
    assert part.revoked_at == SessionsEnd.objects.get().ended_at
    (part,) = UserSession.objects.defer("expires_at")
    assert part.status == "revoked"
    # Whoever saves it writes what is so.
    row.save()
    assert UserSession.objects.filter(end_reason="logout_all").count() == 1


def test_the_storage_says_so(user, browser):
    storage, now, row = SessionStorage(), utc_now(), row_of(browser)
    token = new_record(user)
    devices.revoke_all(user)
    assert storage.get(token_hash="t", now=now) is None
    assert storage.refresh(token.id, updated_at=now, expires_at=now + DAY) is None
    assert storage.get_any(token.id).status == "revoked"
    assert storage.get_any(row.pk).revoked_at is not None

    def listed(status):
        page = storage.list_for_user(user.pk, now=now, status=status)
        return {record.id for record in page.records}

    assert listed("revoked") == listed(None) == {row.pk, token.id}
    assert listed("active") == listed("expired") == set()
    # What has ended keeps its time.
    storage.revoke(token.id, revoked_at=now + DAY)
    assert storage.get_any(token.id).revoked_at < now + DAY
    assert storage.revoke_all_for_user(user.pk, revoked_at=now) == 0


def test_what_had_ended_keeps_its_reason(user):
    first, _second = sign_in(user), sign_in(user)
    devices.revoke(user, str(row_of(first).pk))
    assert devices.revoke_all(user) == 1
    assert devices.revoke_all(user, reason="again") == 0
    reasons = {each.end_reason for each in UserSession.objects.all()}
    assert reasons == {"user_revoked", "logout_all"}
    assert SessionsEnd.objects.count() == 1
    assert not devices.revoke(user, str(UserSession.objects.last().pk))


def test_what_had_timed_out_ended_by_that_and_is_not_revived(user, browser):
    session = SessionStore(browser.cookies["sessionid"].value)
    assert session[SESSION_KEY]
    row = row_of(browser)
    with later(31 * 60):
        # It was read while it was alive, and is saved when its time is over.
        assert devices.revoke_all(user) == 0
        session["a"] = 1
        with pytest.raises(UpdateError):
            session.save()
        row.refresh_from_db()
        assert (row.revoked_at, row.end_reason) == (row.expires_at, "session_timeout")
        (device,) = devices.list_sessions(user, include_ended=True)
        assert (device.ended_at, device.end_reason) == (
            row.expires_at,
            "session_timeout",
        )


def test_nothing_to_end_writes_nothing(user, django_assert_num_queries):
    sign_in(user)
    other = make_user("eve@example.org", PASSWORD)
    with round_trips() as sent, django_assert_num_queries(1):
        assert devices.revoke_all(other) == 0
    assert sent == []
    assert not SessionsEnd.objects.exists()
    assert UserSession.objects.end_all(None, "logout_all") == 0
    at = utc_now()
    assert UserSession.objects.end_all_at(None, "logout_all", at, spared=None) == 0


def test_the_spared_go_on_until_the_next_end(user):
    browsers = [sign_in(user) for _ in range(3)]
    digests = [browser.session.digest for browser in browsers]
    assert end_others(user, digests[0]) == 2
    assert [bool(whoami(browser)) for browser in browsers] == [True, False, False]
    # It ended with the first end, and the second one spares nobody who has ended.
    assert end_others(user, digests[1]) == 1
    assert [bool(whoami(browser)) for browser in browsers] == [False] * 3
    # Asked of the rows: a browser that was signed out has no cookie any more.
    assert not UserSession.objects.not_ended().exists()


def test_what_begins_after_an_end_goes_on(user):
    sign_in(user)
    devices.revoke_all(user)
    browser = sign_in(user)
    token = devices.issue_token(user, client_name="phone", max_age=DAY)
    record = new_record(user)
    assert record.status == "active"
    assert record.began_after == SessionsEnd.objects.get().pk
    assert whoami(browser) == str(user.pk)
    assert devices.user_of_token(token) == user
    assert len(devices.list_sessions(user)) == 3
    # The same browser, by another user's sign-in in the row that it has.
    session = SessionStore(browser.cookies["sessionid"].value)
    other = make_user("eve@example.org", PASSWORD)
    sign_in(other)
    devices.revoke_all(other)
    session[SESSION_KEY] = str(other.pk)
    session.save()
    assert SessionStore(session.session_key)[SESSION_KEY] == str(other.pk)


def test_what_a_transaction_undoes_has_not_ended(user, transactional_db):
    browser = sign_in(user)
    with transaction.atomic():
        devices.revoke_all(user)
        assert devices.list_sessions(user) == []
        transaction.set_rollback(True)
    assert whoami(browser) == str(user.pk)


@pytest.fixture
def everywhere(alias, settings):
    settings.DATABASE_ROUTERS = [Everything(alias)]


@on_every_database
@pytest.mark.django_db(databases=list(project.DATABASES), transaction=True)
def test_every_database_counts_ends_and_spares(alias, everywhere):
    user = make_user("ann@example.org", PASSWORD)
    for _ in range(3):
        devices.issue_token(user, client_name="", max_age=DAY)
    expired = utc_now() - DAY
    UserSession.objects.create(user=user, token_hash="old", expires_at=expired)
    digest = UserSession.objects.exclude(token_hash="old").first().token_hash
    with CaptureQueriesContext(connections[alias]) as queries:
        assert end_others(user, digest) == 2
    assert sum("UPDATE" in each["sql"].split()[0] for each in queries) == 1
    assert end_others(user, digest) == 0
    found = {each.token_hash: each.end_reason for each in UserSession.objects.all()}
    assert (found.pop("old"), found.pop(digest)) == ("session_timeout", "")
    assert set(found.values()) == {"user_revoked_all"}
    assert devices.revoke_all(user) == 1
    assert devices.list_sessions(user) == []
    with later(40 * DAY.total_seconds()):
        call_command("crossauth_purge", database=alias, verbosity=0)
    assert not UserSession.objects.exists()
    assert not SessionsEnd.objects.exists()


@only_where(connection.vendor == "sqlite")
def test_a_database_that_returns_nothing_counts_too(user, monkeypatch):
    # SQLite before 3.35, which Django 5.2 takes.
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    sign_in(user)
    sign_in(user)
    with CaptureQueriesContext(connection) as queries:
        assert [devices.revoke_all(user) for _ in range(2)] == [2, 0]
    assert not any("RETURNING" in each["sql"] for each in queries)


@on_every_database
@pytest.mark.parametrize(
    ("how_many_spare", "counted"),
    [
        (2, [[0, 1], [1, 1]]),
        # The other ends all. Of two at one moment both may count the same.
        (1, [[0, 2], [1, 1], [1, 2]]),
    ],
)
@pytest.mark.django_db(databases=list(project.DATABASES), transaction=True)
def test_of_two_that_end_at_once_none_is_spared(
    alias, everywhere, how_many_spare, counted
):
    # Unless they wait for each other, the later number is taken past an end that it has not seen.
    user = make_user("ann@example.org", PASSWORD)
    for _ in range(15):
        for _ in range(2):
            devices.issue_token(user, client_name="", max_age=DAY)
        rows = UserSession.objects.going_on_of(user.pk)
        digests = list(rows.values_list("token_hash", flat=True))[:how_many_spare]
        spared = iter([[digest] for digest in digests] + [[]])
        ended = run_together(2, lambda spared=spared: end_others(user, *next(spared)))
        assert sorted(ended) in counted
        assert not UserSession.objects.going_on_of(user.pk).exists()


@pytest.mark.skipif("mariadb" not in project.DATABASES, reason="no MariaDB runs here")
@pytest.mark.parametrize("alias", ["mariadb"])
@pytest.mark.django_db(databases=list(project.DATABASES), transaction=True)
def test_many_users_that_end_all_at_once_wait_where_reads_lock_gaps(
    alias, everywhere, monkeypatch
):
    options = connections[alias].settings_dict["OPTIONS"]
    # New connections have it: those of the threads.
    monkeypatch.setitem(options, "isolation_level", "repeatable read")
    users = [make_user(f"{number}@example.org") for number in range(8)]

    def use(user):
        for _ in range(2):
            devices.issue_token(user, client_name="", max_age=DAY)
        rows = UserSession.objects.going_on_of(user.pk)
        spared = rows.values_list("token_hash", flat=True).first()
        return end_others(user, spared), devices.revoke_all(user)

    for _ in range(10):
        left = iter(users)
        assert run_together(8, lambda left=left: use(next(left))) == [(1, 1)] * 8


@pytest.mark.parametrize(
    ("table", "write"),
    [
        ("sessionsend", devices.revoke_all),
        ("usersession", partial(devices.issue_token, client_name="", max_age=DAY)),
        ("usersession", new_record),
    ],
)
def test_a_statement_that_the_database_undoes_is_done_again(
    table, write, user, transactional_db
):
    sign_in(user)
    with watching("INSERT", table, before=fail(DEADLOCK)):
        assert write(user)


# What the purge keeps.


def test_the_purge_keeps_an_end_as_long_as_a_row_needs_it(user):
    long = utc_now() + 400 * DAY
    UserSession.objects.create(user=user, token_hash="met", expires_at=long)
    devices.revoke_all(user)
    UserSession.objects.create(user=user, token_hash="goes on", expires_at=long)
    call_command("crossauth_purge", verbosity=0)
    assert (UserSession.objects.count(), SessionsEnd.objects.count()) == (2, 1)
    end = SessionsEnd.objects.get()
    SessionsEnd.objects.update(ended_at=utc_now() - 2 * DAY)
    # Its table alone, and the row is still there.
    table = next(each for each in purge.tables() if each.model is SessionsEnd)
    assert list(purge.purge(table, "default", utc_now(), 10)) == []
    call_command("crossauth_purge", verbosity=0)
    assert [row.token_hash for row in UserSession.objects.all()] == ["goes on"]
    assert not SessionsEnd.objects.exists()
    assert UserSession.objects.get().began_after == end.pk
    assert UserSession.objects.get().status == "active"
    # The next number is greater all the same.
    assert devices.revoke_all(user) == 1
    assert devices.list_sessions(user) == []


# What the cache says.


def stored(digest):
    return get_copies().store.get(f"session:{digest}", slot=bucket(digest))


def test_a_copy_of_before_stands_there_and_is_not_believed(user, browser):
    whoami(browser)
    digest = browser.session.digest
    assert stored(digest) is not None
    with round_trips() as sent:
        devices.revoke_all(user)
    assert sent == ["del"]
    assert stored(digest) is not None
    assert not SessionStore().exists(browser.cookies["sessionid"].value)
    assert whoami(browser) == ""


def test_nor_is_it_when_the_user_is_named_by_text(user, browser):
    whoami(browser)
    named = type(user).objects.get(pk=user.pk)
    # As it may come out of an export; the database takes it.
    named.pk = getattr(user.pk, "hex", f"00{user.pk}")
    assert devices.revoke_all(named) == 1
    assert whoami(browser) == ""


def test_others_of_the_bucket_are_asked_of_their_rows_once(
    user, browser, django_assert_num_queries
):
    whoami(browser)
    if not isinstance(user.pk, int):
        pytest.skip("the keys of these users are random")
    pks = range(user.pk + 1, user.pk + 10_000)
    pk = next(each for each in pks if bucket_of(each) == bucket_of(user.pk))
    neighbour = make_user("eve@example.org", PASSWORD, pk=pk)
    sign_in(neighbour)
    devices.revoke_all(neighbour)
    with django_assert_num_queries(3):
        assert whoami(browser) == str(user.pk)
    with round_trips() as sent, django_assert_num_queries(1):
        assert whoami(browser) == str(user.pk)
    assert sent == ["mget"]


def test_a_stamp_that_was_evicted_costs_a_look_and_revives_nothing(user, browser):
    other = sign_in(user)
    whoami(browser)
    devices.revoke(user, str(row_of(other).pk))
    get_copies().store.delete("session-stamp", slot=bucket_of(user.pk))
    assert whoami(browser) == str(user.pk)
    assert whoami(other) == ""
    with round_trips() as sent:
        whoami(browser)
    assert sent == ["mget"]


def test_a_sign_in_has_a_key_in_its_users_bucket(user, browser, settings):
    assert bucket(browser.session.digest) == bucket_of(user.pk)
    assert stored(browser.session.digest).startswith("s")
    settings.CROSSAUTH_ANONYMOUS_SESSIONS = "table"
    # Their rows have keys of any bucket before they sign in.
    for number in range(3):
        visitor = Client()
        visitor.get("/put/?cart=full")
        visitor.post("/login/", {"username": user.get_username(), "password": PASSWORD})
        assert bucket(visitor.session.digest) == bucket_of(user.pk)
        assert visitor.get("/kept/?name=cart").content == b"full"
        assert UserSession.objects.count() == 2 + number


def test_one_that_has_another_key_is_read_from_its_row(user):
    session = SessionStore()
    session.create()
    while bucket(session.digest) == bucket_of(user.pk):
        session = SessionStore()
        session.create()
    # No login(), which would have chosen the key.
    session[SESSION_KEY] = str(user.pk)
    session.save()
    assert stored(session.digest) is None
    for _ in range(2):
        assert SessionStore(session.session_key)[SESSION_KEY] == str(user.pk)
    assert stored(session.digest) is None
    devices.revoke_all(user)
    assert SessionStore(session.session_key).load() == {}


@given(st.integers(0, 255))
def test_a_key_is_found_in_every_bucket(number):
    key = key_in(f"{number:02x}")
    assert len(key) == 48
    assert crypto.digest(key).startswith(f"{number:02x}")
    assert SessionStore()._validate_session_key(key)


def test_keys_of_one_bucket_differ():
    assert len({key_in("00") for _ in range(100)}) == 100


NONCE = "n" * 12
ARGUMENTS = [f"l{NONCE}", "5000", "freshone", "9000", "s", "12"]


@pytest.mark.parametrize(
    ("found", "stamp", "expected"),
    [
        (None, None, ("freshone", {0: f"l{NONCE}", 1: "freshone"})),
        (None, "stampone", ("stampone", {0: f"l{NONCE}"})),
        (f"s{NONCE}stampone|x", "stampone", ("", {})),
        (f"s{NONCE}stampone|x", "stamptwo", ("stamptwo", {0: f"l{NONCE}"})),
        (f"s{NONCE}stampone|x", None, ("freshone", {0: f"l{NONCE}", 1: "freshone"})),
        (f"l{NONCE}", "stampone", ("", {})),
        (f"l{NONCE}", None, ("", {})),
        ("v", None, ("", {})),
        ("m", "stampone", ("", {})),
        ("", "stampone", ("", {})),
    ],
)
def test_the_twin_of_a_lease_decides_as_the_script(found, stamp, expected):
    reply, writes = LEASE_STEP.twin([found, stamp], 0, ARGUMENTS)
    assert (reply, {key: each.value for key, each in writes.items()}) == (
        [expected[0]],
        expected[1],
    )
    store, keys = get_copies().store, ["lease", "stamp"]
    for key, value in zip(keys, (found, stamp), strict=True):
        store.delete(key, slot="twin")
        if value is not None:
            store.set(key, value, 60, slot="twin")
    assert store.step(LEASE_STEP, keys, ARGUMENTS, slot="twin") == reply
    kept = [
        writes[position].value if position in writes else before
        for position, before in enumerate((found, stamp))
    ]
    assert store.get_many(keys, slot="twin") == kept


# Staff.


def test_staff_find_what_ended_with_all_others(user, browser):
    staff = make_user("staff@example.org", PASSWORD)
    if not hasattr(staff, "is_superuser"):
        pytest.skip("a user model without permissions has no admin")
    staff.is_staff = staff.is_superuser = True
    staff.save()
    desk, pages = sign_in(staff), {}
    devices.revoke_all(user)
    for state in ("", "active", "expired", "revoked", "unknown"):
        answer = desk.get("/admin/crossauth_django/usersession/", {"state": state})
        pages[state] = {row.user_id for row in answer.context["cl"].result_list}
    everybody = {user.pk, staff.pk}
    assert pages == {
        "": everybody,
        "active": {staff.pk},
        "expired": set(),
        "revoked": {user.pk},
        "unknown": everybody,
    }
