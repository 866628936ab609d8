"""A session as a browser sees it."""

from __future__ import annotations

import pytest

from tests.accounts.conftest import make_user
from tests.sessions.conftest import PASSWORD, asgi_request, run, sign_in, whoami


def test_a_signed_in_browser_stays_signed_in(browser, user):
    assert whoami(browser) == str(user.pk)
    assert whoami(browser) == str(user.pk)


def test_signing_out_ends_it(browser):
    key = browser.cookies["sessionid"].value
    browser.post("/logout/")
    assert whoami(browser) == ""
    browser.cookies["sessionid"] = key
    assert whoami(browser) == ""


@pytest.fixture
def asgi_user(transactional_db):
    return make_user("ann@example.org", PASSWORD)


def test_behind_an_asgi_server_the_session_that_changes_the_address_goes_on(asgi_user):
    browser, other = sign_in(asgi_user), sign_in(asgi_user)
    answer = run(asgi_request(browser, "/address/", {"email": "new@example.org"}))
    assert answer == (200, b"changed")
    assert (whoami(browser), whoami(other)) == (str(asgi_user.pk), "")


def test_behind_an_asgi_server_the_current_device_is_marked(asgi_user):
    browser = sign_in(asgi_user)
    _status, body = run(asgi_request(browser, "/devices/"))
    assert b'"current": true' in body
