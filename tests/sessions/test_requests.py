"""A session as a browser sees it."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application

from tests.accounts.conftest import make_user
from tests.sessions.conftest import PASSWORD, run, sign_in, whoami


def test_a_signed_in_browser_stays_signed_in(browser, user):
    assert whoami(browser) == str(user.pk)
    assert whoami(browser) == str(user.pk)


def test_signing_out_ends_it(browser):
    key = browser.cookies["sessionid"].value
    browser.post("/logout/")
    assert whoami(browser) == ""
    browser.cookies["sessionid"] = key
    assert whoami(browser) == ""


async def request(client, path, **fields):
    """Send what the browser would send to an ASGI server; return the status and the body."""
    body = urlencode(fields).encode()
    key = client.cookies["sessionid"].value
    headers = [
        (b"host", b"testserver"),
        (b"cookie", f"sessionid={key}".encode()),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {"type": "http", "method": "POST" if fields else "GET", "path": path}
    scope |= {"headers": headers, "query_string": b"", "http_version": "1.1"}
    server = ApplicationCommunicator(get_asgi_application(), scope)
    await server.send_input({"type": "http.request", "body": body})
    start = await server.receive_output(10)
    answer = await server.receive_output(10)
    await server.wait(10)
    return start["status"], answer["body"]


@pytest.fixture
def asgi_user(transactional_db):
    return make_user("ann@example.org", PASSWORD)


def test_behind_an_asgi_server_the_session_that_changes_the_address_goes_on(asgi_user):
    browser, other = sign_in(asgi_user), sign_in(asgi_user)
    answer = run(request(browser, "/address/", email="new@example.org"))
    assert answer == (200, b"changed")
    assert (whoami(browser), whoami(other)) == (str(asgi_user.pk), "")


def test_behind_an_asgi_server_the_current_device_is_marked(asgi_user):
    browser = sign_in(asgi_user)
    _status, body = run(request(browser, "/devices/"))
    assert b'"current": true' in body
