"""A real browser for the tests of the pages: Debian's chromium, driven by playwright. Without one they are skipped."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]

PATIENCE_MS = 120_000
"""A busy machine takes its time; nothing waits longer than it must."""
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH to open the pages with (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    made = browser.new_context()
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    return made


class Opened:
    """A tab of its own, with all that it asked for and complained of."""

    def __init__(self, context: BrowserContext):
        self.page: Page = context.new_page()
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))

    def goto(self, path: Path, hash: str = "") -> Page:
        """Open a file of the disk."""
        self.page.goto(f"{path.as_uri()}{hash}")
        return self.page


@pytest.fixture
def opened(context: BrowserContext) -> Iterator[Opened]:
    """A tab of 1280 by 900; at the end it must have complained of nothing and asked nothing of the network."""
    tab = Opened(context)
    yield tab
    tab.page.close()
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
