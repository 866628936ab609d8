from __future__ import annotations

import functools
import operator
from collections import Counter
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AnonymousUser, UserManager
from django.db import transaction
from django.test import AsyncClient, AsyncRequestFactory, Client, override_settings

from crossauth_django import crypto, devices
from crossauth_django.devices import listing
from crossauth_django.managers.credentials import fingerprints
from crossauth_django.models import UserSession
from crossauth_django.sessions import SessionStore, SignedInBy, note_token
from crossauth_django.sessions.clients import client_of
from tests.accounts.conftest import make_user, set_email
from tests.concurrency import run_together
from tests.routers import Everything
from tests.sessions import conftest
from tests.sessions.conftest import PASSWORD, run, sign_in, whoami

site, browser = conftest.site, conftest.browser


@pytest.fixture
def user(db):
    return make_user("ann@example.org", PASSWORD)


def handles(user):
    return [device.handle for device in devices.list_sessions(user)]


def test_a_device_says_what_its_owner_wants_to_know(user, browser):
    (device,) = devices.list_sessions(user)
    assert (device.browser, device.system) == ("Firefox", "Linux")
    assert (device.kind, device.address, device.client_name) == (
        "browser",
        "127.0.0.1",
        "",
    )
    assert device.created_at <= device.last_active_at < device.expires_at
    assert (device.is_active, device.ended_at, device.end_reason) == (True, None, "")


def test_a_handle_is_128_random_bits(user):
    for _ in range(60):
        devices.issue_token(user, client_name="", max_age=timedelta(days=1))
    numbers = [int(handle, 16) for handle in handles(user)]
    # A version 4 UUID has six bits that never change.
    always = functools.reduce(operator.and_, numbers)
    ever = functools.reduce(operator.or_, numbers)
    assert (always, ever) == (0, 2**128 - 1)


def test_a_handle_says_nothing_about_the_key(user, browser):
    key = browser.cookies["sessionid"].value
    (device,) = devices.list_sessions(user)
    assert key not in repr(device)
    assert crypto.digest(key) not in repr(device)


def test_the_current_session_is_marked(user, browser):
    sign_in(user)
    assert browser.get("/devices/").json() == [
        {"handle": handle, "current": handle == str(current(browser).pk)}
        for handle in handles(user)
    ]


def current(client):
    return UserSession.objects.primary().get(token_hash=client.session.digest)


def test_the_latest_activity_comes_first(user):
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        browsers = []
        for _ in range(3):
            browsers.append(sign_in(user))
            clock.shift(timedelta(minutes=2))
        whoami(browsers[0])
        order = [str(current(client).pk) for client in browsers]
        assert handles(user) == [order[0], order[2], order[1]]


@pytest.mark.parametrize("alias", list(django_settings.DATABASES))
@pytest.mark.django_db(databases="__all__")
def test_what_was_never_used_comes_last(settings, alias):
    settings.DATABASE_ROUTERS = [Everything(alias)]
    user = make_user("ann@example.org", PASSWORD)
    sign_in(user)
    devices.issue_token(user, client_name="phone", max_age=timedelta(days=1))
    assert [each.kind for each in devices.list_sessions(user)] == ["browser", "token"]


def test_ended_ones_are_listed_when_asked_for(user, browser):
    devices.revoke_all(user)
    assert devices.list_sessions(user) == []
    (device,) = devices.list_sessions(user, include_ended=True)
    assert device.ended_at is not None
    assert (device.end_reason, device.is_active) == ("logout_all", False)


def test_what_ended_without_a_reason_has_ended(user, browser):
    assert devices.revoke(user, handles(user)[0], reason="")
    (device,) = devices.list_sessions(user, include_ended=True)
    assert (device.end_reason, device.is_active) == ("", False)


def test_a_reason_that_no_column_holds_ends_nothing(user, browser, settings):
    settings.CROSSAUTH_SESSION_PREVIOUS_ENGINE = "django.contrib.sessions.backends.db"
    (handle,) = handles(user)
    with pytest.raises(ValueError, match="32"):
        devices.revoke(user, handle, reason="x" * 33)
    with pytest.raises(ValueError, match="32"):
        devices.revoke_all(user, reason="x" * 33)
    assert UserSession.objects.count() == 1
    assert devices.revoke(user, handle, reason="x" * 32)


@pytest.mark.parametrize("who", [AnonymousUser(), get_user_model()()])
def test_nobody_gets_a_token(db, who):
    with pytest.raises(ValueError, match="saved"):
        devices.issue_token(who, client_name="phone", max_age=timedelta(hours=1))
    assert not UserSession.objects.exists()


def test_revoke_ends_one_at_its_next_request(user, browser):
    other = sign_in(user)
    whoami(browser), whoami(other)
    assert devices.revoke(user, str(current(other).pk))
    assert (whoami(browser), whoami(other)) == (str(user.pk), "")


def test_foreign_unknown_malformed_and_ended_handles_are_missing(user, browser):
    stranger = make_user("bob@example.org", PASSWORD)
    handle = str(current(browser).pk)
    assert not devices.revoke(stranger, handle)
    for wrong in ("", "1", "\0", "x" * 1000, "0" * 32, None, 7):
        assert not devices.revoke(user, wrong)
    assert devices.revoke(user, handle)
    assert not devices.revoke(user, handle)


def test_revoke_others_leaves_this_one(user, browser):
    others = [sign_in(user), sign_in(user)]
    token = devices.issue_token(user, client_name="phone", max_age=timedelta(days=1))
    assert browser.post("/others/").content == b"3"
    assert [whoami(client) for client in (browser, *others)] == [str(user.pk), "", ""]
    assert devices.user_of_token(token) is None


def test_what_no_database_stores_is_left_out_of_what_a_client_says(user):
    devices.issue_token(user, client_name="a\0\ud800", max_age=timedelta(hours=1))
    (device,) = devices.list_sessions(user)
    assert device.client_name == "a?"
    assert client_of({"HTTP_USER_AGENT": "a\0\ud800"}) == {"user_agent": "a?", "ip": ""}


def test_revoke_others_without_a_session_of_ours_ends_all(user, browser, rf):
    request = rf.get("/")
    request.user = user
    assert devices.revoke_others(request) == 1


def test_revoke_others_of_nobody_ends_nothing(user, browser, rf):
    request = rf.get("/")
    request.user = AnonymousUser()
    assert devices.revoke_others(request) == 0
    assert whoami(browser)


def test_nobody_has_no_devices(db, settings, rf):
    settings.CROSSAUTH_ANONYMOUS_SESSIONS = "table"
    visitor = Client()
    visitor.get("/put/?cart=full")
    handle, nobody = str(UserSession.objects.get().pk), AnonymousUser()
    assert devices.list_sessions(nobody) == []
    assert not devices.revoke(nobody, handle)
    assert devices.revoke_all(nobody) == 0
    assert visitor.get("/kept/?name=cart").content == b"full"


def test_remember_without_a_session_of_ours_does_nothing(rf):
    devices.remember(rf.get("/"))


def test_what_ends_in_a_transaction_that_is_rolled_back_has_not_ended(user, browser):
    whoami(browser)
    with transaction.atomic():
        devices.revoke_all(user)
        transaction.set_rollback(True)
    assert whoami(browser)


class Replicas:
    """Reads from a database that is not there."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


def test_ending_asks_no_replica(user, browser, settings):
    # A copy would be forgotten before the change is committed, or the end of it not be known.
    settings.DATABASE_ROUTERS = [Replicas()]
    assert devices.revoke(user, str(current(browser).pk))
    assert devices.revoke_all(user) == 0
    assert UserSession.objects.filter(user_id=user.pk).delete()[0] == 1


# The cap.


def test_the_least_recently_active_gives_way(user, settings):
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = 2
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        first, second = sign_in(user), sign_in(user)
        clock.shift(timedelta(minutes=2))
        whoami(first)
        clock.shift(timedelta(minutes=2))
        third = sign_in(user)
        assert [bool(whoami(client)) for client in (first, second, third)] == [
            True,
            False,
            True,
        ]
        ended = devices.list_sessions(user, include_ended=True)
        assert sorted(each.end_reason for each in ended) == ["", "", "session_limit"]


def test_five_is_the_cap_and_tokens_do_not_count(user):
    for _ in range(3):
        devices.issue_token(user, client_name="phone", max_age=timedelta(days=1))
    browsers = [sign_in(user) for _ in range(7)]
    assert sum(bool(whoami(client)) for client in browsers) == 5
    assert len(devices.list_sessions(user)) == 8


def test_without_a_cap_all_stay(user, settings):
    settings.CROSSAUTH_MAX_SESSIONS_PER_USER = None
    browsers = [sign_in(user) for _ in range(7)]
    assert all(map(whoami, browsers))


def sign_ins(user_pk):
    """Four at once; return how many there were at most at any moment."""
    user = get_user_model().objects.get(pk=user_pk)

    def sign_in_and_count():
        Client().force_login(user)
        return UserSession.objects.active().filter(user_id=user_pk).count()

    with override_settings(
        SESSION_ENGINE="crossauth_django.sessions",
        CROSSAUTH_CACHE_ALIAS="redis",
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
    ):
        return max(run_together(4, sign_in_and_count))


def test_the_cap_holds_under_32_parallel_sign_ins(crew, transactional_db):
    user = make_user("ann@example.org", PASSWORD)
    for _ in range(2):
        most = crew.run(sign_ins, user.pk)
        assert [count for count in most if count not in range(1, 6)] == []
    ended = devices.list_sessions(user, include_ended=True)
    assert Counter(each.end_reason for each in ended) == {"": 5, "session_limit": 59}


# Bearer tokens.


@pytest.fixture
def token(user):
    return devices.issue_token(user, client_name="phone", max_age=timedelta(hours=1))


def bearer(token, client=None):
    client = client or Client(enforce_csrf_checks=True)
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def test_a_token_signs_in_with_one_query(user, token, django_assert_num_queries):
    client = bearer(token)
    whoami(client)
    with django_assert_num_queries(1):
        assert whoami(client) == str(user.pk)


def test_a_token_is_kept_as_a_digest_and_listed(user, token):
    row = UserSession.objects.get()
    assert token not in str(vars(row))
    (device,) = devices.list_sessions(user)
    assert (device.kind, device.client_name, device.last_active_at) == (
        "token",
        "phone",
        None,
    )
    devices.user_of_token(token)
    (device,) = devices.list_sessions(user)
    assert device.last_active_at is not None


def test_a_tokens_request_spares_it_and_finds_it_current(user, token, browser):
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.post("/others/").content == b"1"
    assert whoami(client) == str(user.pk)
    assert [each["current"] for each in client.get("/devices/").json()] == [True]
    # Between requests there is none.
    note_token(SignedInBy(crypto.digest(token)))
    assert not devices.list_sessions(user)[0].is_current


def test_a_token_needs_no_csrf_token_and_a_cookie_does(user, token, browser):
    assert bearer(token).post("/echo/").content.decode() == str(user.pk)
    client = Client(enforce_csrf_checks=True)
    client.cookies = browser.cookies
    assert client.post("/echo/").status_code == 403
    # The cookie signs in, so the header changes nothing.
    assert bearer(token, client).post("/echo/").status_code == 403


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {}", "Token {}"]
)
def test_other_headers_sign_nobody_in(token, header):
    client = Client(enforce_csrf_checks=True, HTTP_AUTHORIZATION=header.format(token))
    assert whoami(client) == ""
    assert client.post("/echo/").status_code == 403


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
def test_no_shared_cache_hands_a_page_to_somebody_else(db, headers):
    answer = Client().get("/untouched/", headers=headers)
    assert "Authorization" in answer["Vary"]


def test_nor_on_the_async_side(transactional_db):
    answer = run(AsyncClient().get("/awhoami/"))
    assert "Authorization" in answer["Vary"]


def test_a_session_key_is_no_token_and_a_token_no_session_key(user, token, browser):
    assert whoami(bearer(browser.cookies["sessionid"].value)) == ""
    client = Client()
    client.cookies["sessionid"] = token
    assert whoami(client) == ""


def test_tokens_end_like_devices(user, token):
    devices.revoke(user, handles(user)[0])
    assert whoami(bearer(token)) == ""


def test_tokens_expire(user, token):
    with time_machine.travel("2036-01-01T00:00+00:00"):
        assert whoami(bearer(token)) == ""
    (device,) = devices.list_sessions(user)
    assert device.is_active


def test_an_expired_token_says_why(user):
    devices.issue_token(user, client_name="phone", max_age=timedelta(seconds=-1))
    (device,) = devices.list_sessions(user, include_ended=True)
    assert device.end_reason == "session_timeout"


@pytest.mark.parametrize(
    "end",
    [
        lambda user, handle: devices.revoke(user, handle),
        lambda user, handle: devices.revoke_all(user),
        lambda user, handle: set_email(user, "new@example.org") and None,
    ],
    ids=["revoke", "revoke_all", "address"],
)
@pytest.mark.parametrize(
    ("kept", "reason"),
    [(29, "session_timeout"), (31, "session_absolute_timeout")],
)
def test_what_has_timed_out_keeps_its_end(user, settings, end, kept, reason):
    settings.CROSSAUTH_SESSION_ABSOLUTE_TIMEOUT = timedelta(minutes=45)
    with time_machine.travel("2026-03-01T12:00+00:00", tick=False) as clock:
        browser = sign_in(user)
        clock.shift(timedelta(minutes=kept - 15))
        whoami(browser)
        clock.shift(timedelta(minutes=46))
        (before,) = devices.list_sessions(user, include_ended=True)
        assert before.end_reason == reason
        assert not end(user, before.handle)
        assert devices.list_sessions(user, include_ended=True) == [before]
        assert UserSession.objects.get().revoked_at == before.ended_at


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_active": False}, "user_disabled"),
        ({"password": "another"}, "password_reset"),
        ({"email": "new@example.org"}, "email_changed"),
    ],
)
def test_a_user_changed_without_signals_has_no_tokens(user, token, change, reason):
    users = get_user_model().objects.filter(pk=user.pk)
    users.update(**change)
    assert whoami(bearer(token)) == ""
    (device,) = devices.list_sessions(user, include_ended=True)
    assert device.end_reason == reason
    users.update(is_active=True, password=user.password, email=user.email)
    assert whoami(bearer(token)) == ""


def test_a_token_of_whom_the_default_manager_leaves_out_signs_nobody_in(
    user, token, browser, monkeypatch
):
    class Kept(UserManager):
        def get_queryset(self):
            return super().get_queryset().exclude(last_name="deleted")

    users = get_user_model()
    kept = Kept()
    kept.model = users
    monkeypatch.setattr(users._meta, "default_manager", kept)
    users.objects.filter(pk=user.pk).update(last_name="deleted")
    assert (whoami(browser), whoami(bearer(token))) == ("", "")


def test_a_token_outlives_the_moment_at_which_a_hash_is_renewed(user):
    # The first hasher but one: to be renewed.
    password = make_password(PASSWORD, hasher="pbkdf2_sha256")
    users = get_user_model().objects.filter(pk=user.pk)
    users.update(password=password)
    token = devices.issue_token(
        users.get(), client_name="phone", max_age=timedelta(hours=1)
    )
    old, _email = fingerprints(users.get())
    UserSession.objects.password_renewed(user.pk, old, "of the new hash")
    assert devices.user_of_token(token) is None
    UserSession.objects.password_renewed(user.pk, "of the new hash", old)
    assert devices.user_of_token(token) == user


def test_tokens_on_the_async_side(transactional_db):
    user = make_user("ann@example.org", PASSWORD)
    token = devices.issue_token(user, client_name="phone", max_age=timedelta(hours=1))

    async def use():
        client = AsyncClient()
        answers = [
            await client.get("/awhoami/", headers={"authorization": f"Bearer {secret}"})
            for secret in (token, "wrong")
        ]
        answers.append(await client.get("/awhoami/"))
        return [answer.content.decode() for answer in answers]

    assert run(use()) == [str(user.pk), "", ""]


def test_devices_on_the_async_side(transactional_db):
    user = make_user("ann@example.org", PASSWORD)
    browsers = [sign_in(user) for _ in range(3)]
    key = browsers[0].cookies["sessionid"].value

    async def use():
        request = AsyncRequestFactory().post("/")
        request.session = SessionStore(key)
        request.auser = functools.partial(get_user_model().objects.aget, pk=user.pk)
        await devices.aremember(request)
        token = await devices.aissue_token(
            user, client_name="phone", max_age=timedelta(hours=1)
        )
        found = await devices.alist_sessions(user, request=request)
        return [
            request.session.get_expiry_age() // 86400,
            [(device.kind, device.is_current) for device in found].count(
                ("browser", True)
            ),
            await devices.auser_of_token(token) == user,
            await devices.arevoke(
                user, next(each.handle for each in found if each.kind == "token")
            ),
            await devices.auser_of_token(token),
            await devices.arevoke_others(request),
            await devices.arevoke_all(user),
            len(await devices.alist_sessions(user, include_ended=True)),
        ]

    assert run(use()) == [30, 1, True, True, None, 2, 1, 4]


def test_without_the_parser_browsers_have_no_names(user, browser, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ua_parser", None)
    listing._parse.cache_clear()
    (device,) = devices.list_sessions(user)
    assert (device.browser, device.system) == ("", "")
    listing._parse.cache_clear()


def test_an_unknown_browser_has_no_name(user):
    Client().force_login(user)
    (device,) = devices.list_sessions(user)
    assert (device.browser, device.system, device.user_agent) == ("", "", "")


def test_another_sessions_flag_is_asked_by_request(user, browser, rf):
    request = rf.get("/")
    request.session = SessionStore(browser.cookies["sessionid"].value)
    (device,) = devices.list_sessions(user, request=request)
    assert device.is_current
