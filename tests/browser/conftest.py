"""A real browser on the real demo; the server is a process of its own.

Playwright runs an event loop in the thread of the tests, where Django refuses to use the
database: tests in this folder use the pages, and nothing of Django. The loop ends with the
module, before other tests run.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.demo import Demo

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = "no Chromium is installed"
        pytest.fail(missing) if "CI" in os.environ else pytest.skip(missing)
    # Generous, for machines that are busy with other tests.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo_in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo as it is: on SQLite and LocMemCache."""
    yield from _run(Demo(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def demo_on_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo on Redis, and on PostgreSQL where that runs."""
    yield from _run(Demo(tmp_path_factory.mktemp("demo"), **_servers()))


@pytest.fixture
def demo(request: pytest.FixtureRequest) -> Demo:
    """In memory, or as ``on_both`` says."""
    return request.getfixturevalue(getattr(request, "param", "demo_in_memory"))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that was never here."""
    context = browser.new_context()
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def look(page: Page, tmp_path: Path) -> Callable[[str], None]:
    """Sees that the page fits a desktop and a phone, and keeps pictures of it, light and dark.

    They are in ``CROSSAUTH_TEST_SCREENSHOTS``, or else in a temporary folder.
    """
    folder = Path(os.environ.get("CROSSAUTH_TEST_SCREENSHOTS", tmp_path))

    def look(name: str) -> None:
        for width, height in ((1280, 860), (320, 640)):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                path = folder / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=path, full_page=True)

    return look


def _run(demo: Demo) -> Iterator[Demo]:
    yield demo
    assert demo.stop() == 0, demo.output
    assert "Traceback" not in demo.output, demo.output


def _servers() -> dict[str, str]:
    variables = {"REDIS_URL": f"{os.environ['CROSSAUTH_TEST_REDIS_URL']}/3"}
    if postgres := os.environ.get("CROSSAUTH_TEST_POSTGRES_URL"):
        name = f"demo_{secrets.token_hex(4)}"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        variables["DATABASE_URL"] = f"{postgres.rpartition('/')[0]}/{name}"
    return variables
