"""cross-auth 0.41's sessions, in the table of the session engine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cross_auth import exceptions
from django.test import Client
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from crossauth_django import devices
from crossauth_django.crypto import digest
from crossauth_django.fields import utc_now
from crossauth_django.models import UserSession
from crossauth_django.storage import SessionStorage
from tests.accounts.conftest import make_user
from tests.crossauth.conftest import RELEASE, make_site

if RELEASE.startswith("0.12."):
    pytest.skip("this release keeps no sessions of its own", allow_module_level=True)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user():
    return make_user("ann@example.org")


@pytest.fixture
def site(provider, user):
    site = make_site(
        provider, session_storage=SessionStorage(), get_user_from_request=None
    )

    @site.crossauth.router.post("/in")
    def sign_in(response: Response) -> None:
        site.crossauth.login(
            str(user.pk), response=response, metadata={"client_name": "browser"}
        )

    @site.crossauth.router.get("/who")
    async def who(request: Request) -> dict[str, object]:
        # On the loop, as a coroutine handler calls it.
        found = site.crossauth.get_current_user(request)
        return {"who": None if found is None else str(found.id)}

    @site.crossauth.router.post("/out")
    async def sign_out(request: Request, response: Response) -> None:
        site.crossauth.logout(request, response=response)

    application = FastAPI()
    application.include_router(site.crossauth.router)
    # Over https: the session's cookie is a secure one.
    site.browser = TestClient(application, base_url="https://site.example")
    return site


def who(site, **headers):
    return site.browser.get("/who", headers=headers).json()["who"]


def test_the_cookies_secret_is_kept_as_a_digest_and_listed_as_a_device(site, user):
    site.browser.post("/in")
    assert who(site) == str(user.pk)
    row = UserSession.objects.get()
    assert row.token_hash == digest(site.browser.cookies["session_id"])
    (device,) = devices.list_sessions(user)
    assert (device.client_name, device.kind) == ("browser", "token")


def test_what_we_revoke_the_library_refuses(site, user):
    site.browser.post("/in")
    devices.revoke_all(user)
    assert who(site) is None


def test_what_the_library_revokes_we_refuse(site, user, settings):
    settings.SESSION_ENGINE = "crossauth_django.sessions"
    browser = Client()
    browser.force_login(user)
    site.browser.post("/in")
    page = site.crossauth.list_sessions(str(user.pk))
    assert len(page.records) == 2
    (kept,) = (record for record in page.records if record.kind == "token")
    assert (
        site.crossauth.revoke_other_sessions(
            user_id=str(user.pk), keep_session_id=str(kept.id)
        )
        == 1
    )
    assert "_auth_user_id" not in browser.session
    assert who(site) == str(user.pk)


def test_signing_out_ends_it(site, user):
    site.browser.post("/in")
    site.browser.post("/out")
    assert [record.status for record in UserSession.objects.all()] == ["revoked"]
    assert who(site) is None


def test_a_bearer_session_signs_in_on_both_sides(site, user, settings):
    token, record = site.crossauth.issue_session_token(str(user.pk))
    assert who(site, Authorization=f"Bearer {token}") == str(user.pk)
    assert devices.user_of_token(token) == user
    site.crossauth.revoke_session(str(record.id), user_id=str(user.pk))
    assert who(site, Authorization=f"Bearer {token}") is None
    assert devices.user_of_token(token) is None


def test_our_tokens_sign_in_there(site, user):
    token = devices.issue_token(user, client_name="app", max_age=timedelta(hours=1))
    assert who(site, Authorization=f"Bearer {token}") == str(user.pk)


def test_pages_go_on_where_they_ended_and_bad_cursors_are_the_librarys_error(
    site, user
):
    for _ in range(3):
        site.crossauth.issue_session_token(str(user.pk))
    first = site.crossauth.list_sessions(str(user.pk), limit=2)
    rest = site.crossauth.list_sessions(str(user.pk), limit=2, cursor=first.next_cursor)
    assert len({record.id for record in (*first.records, *rest.records)}) == 3
    with pytest.raises(exceptions.InvalidCursorError):
        site.crossauth.list_sessions(str(user.pk), cursor="not one")


def test_the_status_is_the_librarys(user):
    storage, now = SessionStorage(), utc_now()
    for number, expires in enumerate(
        (now + timedelta(hours=1), now - timedelta(hours=1))
    ):
        storage.create(
            token_hash=f"{number}",
            user_id=user.pk,
            created_at=now,
            updated_at=now,
            expires_at=expires,
        )
    storage.revoke(storage.get(token_hash="0", now=now).id, revoked_at=now)
    # 0.12 has none.
    from cross_auth import _storage

    for record in UserSession.objects.all():
        assert record.status == _storage.session_status(record)
