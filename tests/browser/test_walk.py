from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from example_project.demo_account import EMAIL, PASSWORD

if TYPE_CHECKING:
    from tests.demo import Demo

on_both = pytest.mark.parametrize(
    "demo", ["demo_in_memory", "demo_on_servers"], indirect=True
)


def sign_in_at_the_provider(page: Page, person: str) -> None:
    page.get_by_role("button", name="Continue with Local OpenID").click()
    page.get_by_role("button", name=person).click()


def sign_in_by_password(page: Page, password: str, email: str = EMAIL) -> None:
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password").fill(password)
    # A refused form looks like the one before; the next step is for the new one.
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in", exact=True).click()


@on_both
def test_a_provider_signs_a_visitor_in_and_the_account_page_shows_the_connection(
    demo: Demo, page: Page
) -> None:
    page.goto(demo.url)
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    sign_in_at_the_provider(page, "Grace Hopper")
    expect(page).to_have_url(f"{demo.url}account/")
    expect(page.get_by_role("heading", level=1)).to_have_text("grace@example.com")
    expect(page.get_by_text("Address verified")).to_be_visible()
    connected = page.get_by_role("region", name="Connected accounts")
    expect(connected.get_by_role("listitem")).to_have_count(1)
    expect(connected).to_contain_text("Local OpenID")
    expect(connected).to_contain_text("Signs you in")

    # The account page has more of them: one for each device.
    page.get_by_role("navigation").get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(demo.url)
    page.goto(f"{demo.url}account/")
    expect(page).to_have_url(f"{demo.url}sign-in/?next=/account/")


def test_the_second_sign_in_at_the_provider_finds_the_account_of_the_first(
    demo: Demo, browser: Browser
) -> None:
    for _ in range(2):
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"{demo.url}sign-in/")
            sign_in_at_the_provider(page, "Alan Turing")
            expect(page.get_by_role("heading", level=1)).to_have_text(
                "alan@example.com"
            )
            connected = page.get_by_role("region", name="Connected accounts")
            expect(connected.get_by_role("listitem")).to_have_count(1)


def test_a_visitor_comes_back_to_the_page_that_asked_for_the_sign_in(
    demo: Demo, page: Page
) -> None:
    page.goto(f"{demo.url}account/?from=mail")
    sign_in_at_the_provider(page, "Grace Hopper")
    expect(page).to_have_url(f"{demo.url}account/?from=mail")


def test_sign_ins_that_were_begun_in_two_tabs_both_end_well(
    demo: Demo, context: BrowserContext
) -> None:
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(f"{demo.url}sign-in/")
        tab.get_by_role("button", name="Continue with Local OpenID").click()
        expect(tab.get_by_role("heading", level=1)).to_have_text("Who is signing in?")
    for tab in tabs:
        tab.get_by_role("button", name="Grace Hopper").click()
        expect(tab).to_have_url(f"{demo.url}account/")


def test_a_verified_address_leads_to_the_account_that_has_it(
    demo: Demo, page: Page
) -> None:
    page.goto(f"{demo.url}sign-in/")
    sign_in_at_the_provider(page, "Dana Demo")
    expect(page.get_by_role("heading", level=1)).to_have_text(EMAIL)
    expect(page.get_by_role("region", name="Password")).to_contain_text("You can")


def test_an_address_that_nobody_verified_leads_to_nobodys_account(
    demo: Demo, page: Page
) -> None:
    page.goto(f"{demo.url}sign-in/")
    page.get_by_role("button", name="Continue with Local OpenID").click()
    page.get_by_label("Somebody else").fill(EMAIL)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("exists here")
    page.goto(f"{demo.url}account/")
    expect(page).to_have_url(f"{demo.url}sign-in/?next=/account/")


def test_a_cancelled_sign_in_says_so_and_signs_nobody_in(
    demo: Demo, page: Page
) -> None:
    page.goto(f"{demo.url}sign-in/")
    page.get_by_role("button", name="Continue with Local OpenID").click()
    page.get_by_role("link", name="Cancel and go back").click()
    expect(page.get_by_role("alert")).to_have_text("The sign-in was cancelled.")
    page.goto(f"{demo.url}account/")
    expect(page).to_have_url(f"{demo.url}sign-in/?next=/account/")


@on_both
def test_the_demo_account_signs_in_by_password(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.url}sign-in/")
    sign_in_by_password(page, PASSWORD)
    expect(page).to_have_url(f"{demo.url}account/")
    expect(page.get_by_role("heading", level=1)).to_have_text(EMAIL)
    expect(page.get_by_role("region", name="Password")).to_contain_text("You can")


def test_a_wrong_password_is_refused_with_a_reason(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.url}sign-in/")
    sign_in_by_password(page, "not-the-password")
    expect(page.get_by_role("alert")).to_contain_text("Please enter a correct")
    expect(page).to_have_url(f"{demo.url}sign-in/")


def test_the_sixth_guess_is_told_to_wait(
    demo: Demo, page: Page, look: Callable[[str], None]
) -> None:
    page.goto(f"{demo.url}sign-in/")
    for _ in range(5):
        sign_in_by_password(page, "a-guess", "nobody@example.com")
        expect(page.get_by_role("alert")).to_contain_text("Please enter a correct")
    sign_in_by_password(page, "a-guess", "nobody@example.com")
    expect(page.get_by_role("alert")).to_contain_text("Please try again in")
    look("wait")


def test_the_keyboard_alone_signs_in(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.url}sign-in/")
    expect(page.get_by_label("Email address")).to_be_focused()
    page.keyboard.type(EMAIL)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{demo.url}account/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_every_page_fits_its_window(
    demo: Demo, page: Page, look: Callable[[str], None]
) -> None:
    page.goto(demo.url)
    look("home")
    page.goto(f"{demo.url}sign-in/")
    look("sign-in")
    sign_in_by_password(page, "not-the-password")
    look("refused")
    page.get_by_role("button", name="Continue with Local OpenID").click()
    look("provider")
    page.get_by_role("link", name="Cancel and go back").click()
    look("failed")
    page.get_by_role("link", name="Back to the sign-in page").click()
    sign_in_at_the_provider(page, "Grace Hopper")
    look("account")


def test_the_page_of_a_failed_sign_in_can_still_sign_out(
    demo: Demo, page: Page
) -> None:
    # Without any referrer browsers would send "Origin: null", which Django refuses.
    page.goto(f"{demo.url}sign-in/")
    sign_in_by_password(page, PASSWORD)
    page.goto(f"{demo.url}auth/oauth/local/callback/?error=access_denied&state=x")
    expect(page.get_by_role("alert")).to_contain_text("This sign-in has expired")
    page.get_by_role("navigation").get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(demo.url)
