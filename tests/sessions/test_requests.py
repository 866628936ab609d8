"""A session as a browser sees it."""

from __future__ import annotations

from tests.sessions.conftest import whoami


def test_a_signed_in_browser_stays_signed_in(browser, user):
    assert whoami(browser) == str(user.pk)
    assert whoami(browser) == str(user.pk)


def test_signing_out_ends_it(browser):
    key = browser.cookies["sessionid"].value
    browser.post("/logout/")
    assert whoami(browser) == ""
    browser.cookies["sessionid"] = key
    assert whoami(browser) == ""
