"""compare.html in a browser: the largest loss first, the two runs' images against each other, charts, screen reader."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from made_report import made_comparison
from PIL import Image
from playwright.sync_api import expect

from editbench.views.html import compare_to_html


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    made = made_comparison(45, folder=folder)
    (folder / "compare.html").write_text(compare_to_html(made), encoding="utf-8")
    return made, folder / "compare.html"


def test_the_largest_loss_comes_first_with_source_and_both_edits_beside_each_other(comparison, opened):
    made, path = comparison
    page = opened.goto(path)
    worst = made["samples"][0]
    first = page.locator("#grid .card").first
    expect(first.locator("a")).to_have_text(worst["sample_id"])
    expect(first.locator(".score")).to_have_text(f"\N{MINUS SIGN}{-worst['difference']:.2f}")
    scores = [f"{worst['scores'][name]:.2f}" for name in ("base", "other")]
    expect(first.locator("figcaption")).to_have_text(["source", f"base{scores[0]}", f"other{scores[1]}"])
    first.scroll_into_view_if_needed()
    for picture in first.locator("img").all():
        expect(picture).to_have_js_property("naturalWidth", 128)
    page.select_option("[name=state]", "win")
    wins = [row["sample_id"] for row in made["samples"] if row["difference"] and row["difference"] > 0]
    assert page.locator("#grid .card a").all_text_contents() == wins
    page.select_option("[name=sort]", label="largest gain first")
    gains = sorted((row["difference"] for row in made["samples"] if row["difference"] is not None), reverse=True)
    expect(page.locator("#grid .score").first).to_have_text(f"+{gains[0]:.2f}")


def test_all_sources_of_a_sample_stand_before_the_edits(tmp_path, opened):
    made = made_comparison(45, folder=tmp_path)
    made["samples"][0]["thumbs"]["more_sources"] = ["more 2.png"]
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "more 2.png")
    (tmp_path / "compare.html").write_text(compare_to_html(made), encoding="utf-8")
    page = opened.goto(tmp_path / "compare.html", f"#sample={made['samples'][0]['sample_id']}")
    captions = page.locator("#viewer-images figcaption").all_text_contents()
    assert [caption.partition(":")[0] for caption in captions] == ["source", "source 2", "base", "other"]
    expect(page.locator("#viewer-images img").nth(1)).to_have_js_property("naturalWidth", 8)
    assert page.locator("#grid .card").nth(1).locator("figcaption").count() == 3


def test_any_two_images_can_be_slid_over_each_other(comparison, opened):
    made, path = comparison
    page = opened.goto(path, f"#sample={made['samples'][0]['sample_id']}&view=slider")
    expect(page.get_by_role("slider", name="Slider between base and other")).to_be_visible()
    page.locator("#viewer-left").select_option("source")
    expect(page.get_by_role("slider", name="Slider between source and other")).to_be_visible()


def test_the_charts_show_every_category_and_every_pair_of_scores(comparison, opened):
    made, path = comparison
    page = opened.goto(path)
    expect(page.locator(".intervals .row:not(.axis-labels)")).to_have_count(6)
    both = [tuple(row["scores"].values()) for row in made["samples"] if row["difference"] is not None]
    expect(page.locator(".scatter circle")).to_have_count(len(set(both)))
    expect(page.locator("#pair-0 tbody tr")).to_have_count(7)
    expect(page.locator(".verdict")).to_contain_text("other and base cannot be told apart:")


def test_axe_finds_nothing_and_400_pixels_are_wide_enough(comparison, opened):
    _, path = comparison
    found = Axe().run(opened.goto(path))
    assert found.violations_count == 0, found.generate_report()
    opened.page.set_viewport_size({"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
