"""The rating page in a browser: by keyboard, with hostile text, and without a word to anywhere else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rating_page import UNREADABLE, edited, pairs, rows, serving, singles

from editbench.ratings.questions import Question

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"></p></script><script>document.title='owned'</script> {{ nonce }}"
)


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    """A page that may not log an error nor ask anybody but our server."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if "//127.0.0.1:" in request.url or request.url == "data:," else errors.append(request.url)
        ),
    )
    yield page
    page.close()
    assert errors == []


def shows(page: "sync_api.Page", count: str) -> None:
    """Wait until so many are rated, and the next can be."""
    sync_api.expect(page.locator("#count")).to_have_text(count)
    sync_api.expect(page.locator("#answers button").first).to_be_enabled()


def test_scores_by_keyboard_with_undo(page: "sync_api.Page", tmp_path: Path) -> None:
    with serving(tmp_path / "r.csv", singles(4)) as server:
        page.goto(server.url)
        shows(page, "0 of 4")
        assert page.locator("figcaption").all_inner_texts() == ["Source", "Edit"]
        for done, key in enumerate(("7", "t", "0"), start=1):
            page.keyboard.press(key)
            shows(page, f"{done} of 4")
        assert [row["score"] for row in rows(tmp_path / "r.csv")] == ["7", "10", "0"]
        page.keyboard.press("u")
        shows(page, "2 of 4")
        page.keyboard.press("x")
        page.keyboard.press("Control+5")
        page.get_by_role("button", name="4", exact=True).click()
        shows(page, "3 of 4")
        page.keyboard.press("s")
        sync_api.expect(page.locator("#message")).to_contain_text("Nothing is left but what was skipped")
        assert [row["score"] for row in rows(tmp_path / "r.csv")] == ["7", "10", "4"]


def test_pairs_by_arrow_keys(page: "sync_api.Page", tmp_path: Path) -> None:
    with serving(tmp_path / "p.csv", pairs(3)) as server:  # the base is on the left
        page.goto(server.url)
        shows(page, "0 of 3")
        assert page.locator("figcaption").all_inner_texts() == ["Source", "Left", "Right"]
        for done, key in enumerate(("ArrowLeft", "ArrowDown"), start=1):
            page.keyboard.press(key)
            shows(page, f"{done} of 3")
        page.keyboard.press("ArrowRight")
        sync_api.expect(page.locator("#message")).to_contain_text("All rated")
        assert [row["preference"] for row in rows(tmp_path / "p.csv")] == ["-1", "0", "1"]


def test_hostile_text_is_shown_and_does_nothing(page: "sync_api.Page", tmp_path: Path) -> None:
    with serving(tmp_path / "r.csv", [Question(edited("a", instruction=HOSTILE))]) as server:
        page.goto(server.url)
        shows(page, "0 of 1")
        assert page.locator("#instruction").inner_text() == HOSTILE
        assert page.title() == "Rate edits"
        assert page.locator("img").count() == 2


def test_what_cannot_be_seen_cannot_be_rated(browser: "sync_api.Browser", tmp_path: Path) -> None:
    page = browser.new_page()
    with serving(tmp_path / "r.csv", [Question(edited(UNREADABLE)), *singles(2)]) as server:
        page.goto(server.url)
        sync_api.expect(page.locator("#message")).to_contain_text("cannot be shown: skip this one")
        page.keyboard.press("5")
        sync_api.expect(page.locator("#answers button").first).to_be_disabled()
        page.keyboard.press("s")
        shows(page, "0 of 3, 1 skipped")
        page.route("**/*", lambda route: route.abort())  # the server is gone; set_offline lets open connections live
        page.keyboard.press("5")
        sync_api.expect(page.locator("#message")).to_contain_text("does not answer")
        assert rows(tmp_path / "r.csv") == []
        page.close()
