"""The row decides, in transactions and beside other writers; staff and the purge see to the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from crossauth_django import devices
from crossauth_django.fields import utc_now
from crossauth_django.managers.buckets import bucket, key_in
from crossauth_django.managers.copies import SWAP, get_copies
from crossauth_django.managers.copy_format import NO_MARK
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore
from tests.accounts.conftest import make_user
from tests.accounts.test_interference import DEADLOCK, fail, watching
from tests.sessions.conftest import PASSWORD, sign_in, whoami


@pytest.fixture
def session(transactional_db):
    """A signed-in session with its copy in the cache."""
    session = SessionStore()
    session[SESSION_KEY] = str(make_user("ann@example.org", PASSWORD).pk)
    session.save()
    return again(session)


def again(session):
    found = SessionStore(session.session_key)
    found.load()
    return found


def verbs(queries):
    return [query["sql"].split()[0] for query in queries]


def later(seconds):
    return time_machine.travel(utc_now() + timedelta(seconds=seconds), tick=False)


def test_within_a_transaction_the_activity_waits_for_its_end(session):
    with later(61):
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            assert again(session).session_key
            assert "UPDATE" not in verbs(queries)
        assert verbs(queries)[-1] in ("UPDATE", "COMMIT")
        assert UserSession.objects.get().last_active_at == utc_now()
        with CaptureQueriesContext(connection) as queries:
            again(session)
        assert len(queries) == 0


def test_within_a_transaction_that_is_rolled_back_nothing_is_written(session):
    before = UserSession.objects.get().last_active_at
    with later(61):
        with transaction.atomic():
            again(session)
            transaction.set_rollback(True)
        assert UserSession.objects.get().last_active_at == before


def test_within_a_transaction_an_ended_session_is_dead(session):
    UserSession.objects.update(revoked_at=utc_now())
    with later(61), transaction.atomic():
        assert again(session).session_key is None


def test_within_a_transaction_the_copy_is_made_at_its_end(session):
    get_copies().drop([session.digest])
    with transaction.atomic():
        again(session)
        assert stored(session) is None
    assert stored(session) is not None


def test_a_save_that_is_rolled_back_leaves_what_was(session):
    with transaction.atomic():
        session["a"] = 1
        session.save()
        transaction.set_rollback(True)
    assert "a" not in again(session)
    with transaction.atomic():
        session["a"] = 2
        session.save()
    assert again(session)["a"] == 2


def test_a_sign_in_that_the_database_undoes_is_done_again(session, settings):
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = 1
    other = SessionStore()
    other[SESSION_KEY] = session[SESSION_KEY]
    # The row has been inserted by then.
    with watching("UPDATE", "usersession", before=fail(DEADLOCK)):
        other.save()
    assert again(other)[SESSION_KEY] == session[SESSION_KEY]
    assert again(session).session_key is None


def test_a_rotation_that_is_rolled_back_leaves_the_key(session):
    key = session.session_key
    with transaction.atomic():
        session.cycle_key()
        transaction.set_rollback(True)
    assert SessionStore(key).load()[SESSION_KEY]


@pytest.mark.parametrize("text", ["s", "s|", "sn|x", "v||", "vn|x|1|2", "x", ""])
def test_what_others_wrote_in_a_copys_place_is_not_read(session, text):
    store_in_place_of(session, text)
    assert SessionStore().exists(session.session_key)
    assert again(session)[SESSION_KEY]


def test_a_copy_that_is_older_than_the_row_gives_way(session):
    newer = session.encode({**session.load(), "cart": "full"})
    UserSession.objects.update(data=newer, changed_at=utc_now())
    assert "cart" not in again(session)
    with later(61):
        assert again(session)["cart"] == "full"


def test_a_copy_of_a_row_that_is_gone_or_over_gives_way(session):
    UserSession.objects.update(ends_at=utc_now(), changed_at=utc_now())
    with later(61):
        assert again(session).session_key is None
    super(type(UserSession.objects.all()), UserSession.objects.all()).delete()
    with later(61):
        assert again(session).session_key is None


def test_a_key_that_is_taken_creates_nothing(session, settings):
    visitor = SessionStore()
    visitor["a"] = 1
    visitor.save()
    for taken in (visitor, session):
        found = again(taken)
        with pytest.raises(CreateError):
            found.save(must_create=True)


def test_a_user_who_is_gone_signs_in_nowhere(transactional_db):
    user, session = make_user(), SessionStore()
    session[SESSION_KEY] = str(user.pk)
    user.delete()
    with pytest.raises(UpdateError):
        session.save()


def test_deleted_rows_are_dead_at_once(session):
    UserSession.objects.all().delete()
    assert again(session).session_key is None


def test_so_is_one_that_is_deleted_by_itself(session):
    row = UserSession.objects.get()
    assert row.delete.alters_data
    assert row.delete()[0] == 1
    assert again(session).session_key is None


def test_a_lease_that_nobody_took_up_is_no_session(session):
    copies = get_copies()
    copies.drop([session.digest])
    assert copies.lease(session.digest) != NO_MARK
    assert copies.lease(session.digest) == NO_MARK
    assert again(session).session_key


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, ([0], {})),
        ("s1|old", ([1], {0: ("new", 5000)})),
        ("s2|old", ([0], {0: (None, 0)})),
        ("m", ([0], {})),
    ],
)
def test_the_twin_decides_as_the_script(found, expected):
    reply, writes = SWAP.twin([found], 0, ["s1|", "new", "5000", "svl"])
    assert (reply, {key: tuple(write) for key, write in writes.items()}) == expected
    store = get_copies().store
    store.delete("swap")
    if found is not None:
        store.set("swap", found)
    assert store.step(SWAP, ["swap"], ["s1|", "new", 5000, "svl"]) == reply
    kept = writes[0].value if 0 in writes else found
    assert store.get("swap") == kept
    store.delete("swap")


# Staff.


@pytest.fixture
def staff(db):
    member = make_user("staff@example.org", PASSWORD)
    if not hasattr(member, "is_superuser"):
        pytest.skip("a user model without permissions has no admin")
    member.is_staff = member.is_superuser = True
    member.save()
    return sign_in(member)


LIST = "/admin/crossauth_django/usersession/"


def test_staff_see_sessions_and_no_secret(staff, browser):
    row = UserSession.objects.get(token_hash=browser.session.digest)
    for page in (LIST, f"{LIST}{row.pk}/change/"):
        text = staff.get(page).content.decode()
        assert "127.0.0.1" in text
        for secret in (row.token_hash, row.data, browser.cookies["sessionid"].value):
            assert secret not in text
    assert staff.get(f"{LIST}add/").status_code == 403


def test_staff_end_sessions(staff, browser, user):
    row = UserSession.objects.get(token_hash=browser.session.digest)
    staff.post(LIST, {"action": "end_sessions", "_selected_action": [str(row.pk)]})
    assert whoami(browser) == ""
    row.refresh_from_db()
    assert row.end_reason == "manual_termination"
    assert "manual_termination" in staff.get(LIST).content.decode()


def test_staff_delete_sessions(staff, browser):
    row = UserSession.objects.get(token_hash=browser.session.digest)
    staff.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert whoami(browser) == ""


# The purge.


def test_the_purge_deletes_what_is_over_and_has_been_over(user, capsys):
    rows = {
        "active": {},
        "expired": {"expires_at": utc_now() - timedelta(days=1)},
        "ended": {"revoked_at": utc_now() - timedelta(days=1)},
        "just ended": {"revoked_at": utc_now()},
    }
    for name, changes in rows.items():
        values = {"expires_at": utc_now() + timedelta(days=1), **changes}
        UserSession.objects.create(user=user, token_hash=name, **values)
    call_command("crossauth_purge")
    kept = UserSession.objects.values_list("token_hash", flat=True)
    assert sorted(kept) == ["active", "just ended"]
    assert "crossauth_django_usersession" in capsys.readouterr().out
    call_command("clearsessions")


def test_a_row_is_named_by_its_handle(browser, user):
    assert str(UserSession.objects.get()) == devices.list_sessions(user)[0].handle


def test_a_client_without_headers_has_empty_ones(user):
    Client().force_login(user)
    (device,) = devices.list_sessions(user)
    assert (device.user_agent, device.address) == ("", "")


# What stands in the cache.


def stored(session):
    digest = session.digest
    return get_copies().store.get(f"session:{digest}", slot=bucket(digest))


def store_in_place_of(session, text):
    digest = session.digest
    get_copies().store.set(f"session:{digest}", text, 60, slot=bucket(digest))


def test_a_copy_that_somebody_else_wrote_is_not_believed(session):
    value = stored(session)
    store_in_place_of(session, value[:-8] + "AAAAAAA=")
    assert again(session)[SESSION_KEY]
    # Nor is that of another session.
    other = SessionStore(key_in(bucket(session.digest)))
    store_in_place_of(other, value)
    assert other.load() == {}


def test_a_copy_that_was_signed_with_an_earlier_key_is_read(session, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, long enough for every algorithm in use here"
    assert again(session)[SESSION_KEY]


@pytest.mark.parametrize("name", ["PrefixSerializer", "PickleSerializer"])
def test_data_of_another_serializer_are_empty(session, settings, name):
    settings.SESSION_SERIALIZER = f"tests.sessions.test_engine.{name}"
    assert again(session).load() == {}


def test_a_copy_carries_text_as_text_and_bytes_of_any_kind(session, settings):
    session["name"] = "Ada"
    session.save()
    assert '"name":"Ada"' in stored(session)
    settings.SESSION_SERIALIZER = "tests.sessions.test_engine.PickleSerializer"
    session = SessionStore()
    session["a"] = b"\xff"
    session.save()
    assert again(session)["a"] == b"\xff"


def test_without_a_shared_cache_rows_are_read_each_time(session, settings):
    settings.CROSSAUTH_CACHE_ALIAS = "default"
    assert again(session)[SESSION_KEY]
    assert stored(session) is None
    session = again(session)
    session["a"] = 1
    session.save()
    assert again(session)["a"] == 1
    assert stored(session) is None


def test_a_visitors_session_that_has_a_row_by_now_is_not_written(session, settings):
    visitor = SessionStore()
    visitor["a"] = 1
    visitor.save()
    parallel = again(visitor)
    parallel["b"] = 2
    visitor[SESSION_KEY] = session[SESSION_KEY]
    visitor.save()
    with pytest.raises(UpdateError):
        parallel.save()


@pytest.mark.django_db(databases=list(settings.DATABASES))
@pytest.mark.parametrize("alias", list(settings.DATABASES))
def test_every_database_says_which_sessions_it_ended(alias):
    rows = UserSession.objects.using(alias)
    for name in ("a", "b", "c"):
        rows.create(token_hash=name, expires_at=utc_now() + timedelta(days=1))
    assert rows.filter(token_hash="a").end("logout") == 1
    assert rows.filter(token_hash__in=["a", "b"]).end("user_revoked") == 1
    found = dict(rows.values_list("token_hash", "end_reason"))
    assert found == {"a": "logout", "b": "user_revoked", "c": ""}


@pytest.mark.django_db(databases=list(settings.DATABASES))
@pytest.mark.parametrize("alias", list(settings.DATABASES))
def test_two_ends_at_one_moment_do_not_count_each_others_sessions(alias):
    rows = UserSession.objects.using(alias)
    with time_machine.travel(utc_now(), tick=False):
        for name in ("a", "b"):
            rows.create(token_hash=name, expires_at=utc_now() + timedelta(days=1))
        ends = [rows.filter(token_hash=name).end("logout") for name in ("a", "b")]
    assert ends == [1, 1]
