from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Browser, Page, expect

from tests.browser.test_walk import on_both, sign_in_by_password

if TYPE_CHECKING:
    from tests.demo import Demo

from example_project.demo_account import PASSWORD


@on_both
def test_a_second_browser_that_is_revoked_is_signed_out_at_its_next_click(
    demo: Demo, page: Page, browser: Browser
) -> None:
    second = browser.new_context()
    other = second.new_page()
    for each in (page, other):
        each.goto(f"{demo.url}/sign-in/")
        sign_in_by_password(each, PASSWORD)
        expect(
            each.get_by_role("heading", name="Where you are signed in")
        ).to_be_visible()
    page.reload()
    # The first lists both, and can end the one that it is not.
    expect(page.get_by_text("This browser")).to_have_count(1)
    # Each says by its name which browser it ends, also to who does not see the row.
    buttons = page.get_by_role("listitem").get_by_role("button")
    expect(buttons).to_have_accessible_name(re.compile(r"^Sign out .+ on .+"))
    page.get_by_role("button", name="Sign out everywhere else").click()
    expect(page.get_by_role("button", name="Sign out everywhere else")).to_have_count(0)
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("This browser")).to_be_visible()
    second.close()
