"""report.html in a browser: gallery, copying, hostile text, no JavaScript, keyboard, screen reader, narrow, dark."""

import base64
import csv
import io
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from made_report import made_report
from PIL import Image
from playwright.sync_api import expect

from editbench.views.html import to_html

SAMPLES = 60
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script></script><!--\u2028{{7*7}}"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    made = made_report(SAMPLES, folder=folder)
    (folder / "report.html").write_text(to_html(made), encoding="utf-8")
    return made, folder / "report.html"


def ids(page):
    return page.locator("#grid .card a").all_text_contents()


def wanted(samples, **given):
    return [sample["sample_id"] for sample in samples if all(sample[key] == value for key, value in given.items())]


def test_all_sources_of_a_sample_are_shown_before_its_edit(tmp_path, opened):
    made = made_report(2, folder=tmp_path)
    sample = made["samples"][0]
    more = ["thumbs/more-2.png", "thumbs/more-3.png"]
    for name in more:
        Image.new("RGB", (8, 8), "blue").save(tmp_path / name)
    sample["thumbs"] |= {"more_sources": more}
    (tmp_path / "report.html").write_text(to_html(made), encoding="utf-8")
    page = opened.goto(tmp_path / "report.html")
    card = page.locator("#grid .card").first
    expect(card.locator("figcaption")).to_have_text(["source", "source 2", "source 3", "edited"])
    card.locator("a").click()
    expect(page.locator("#viewer-images figcaption")).to_have_text(["source", "source 2", "source 3", "edited"])
    expect(page.locator("#viewer-images img").nth(2)).to_have_js_property("naturalWidth", 8)
    assert page.locator("#grid .card").nth(1).locator("figcaption").count() == 2


def test_a_reference_stands_behind_the_edit_in_the_view_of_its_sample_alone(tmp_path, opened):
    made = made_report(3, folder=tmp_path)
    first, second, _ = made["samples"]
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "thumbs" / "wanted.png")
    first["thumbs"] |= {"reference": "thumbs/wanted.png"}
    second["thumbs"] |= {"reference": None}
    (tmp_path / "report.html").write_text(to_html(made), encoding="utf-8")
    page = opened.goto(tmp_path / "report.html", f"#sample={first['sample_id']}")
    captions = page.locator("#viewer-images figcaption")
    expect(captions).to_have_text(["source", "edited", "reference"])
    expect(page.locator("#viewer-images img").nth(2)).to_have_js_property("naturalWidth", 8)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-images figure").nth(2)).to_contain_text("no image")
    page.keyboard.press("ArrowRight")
    expect(captions).to_have_text(["source", "edited"])
    page.keyboard.press("Escape")
    expect(page.locator("#grid .card").first.locator("figcaption")).to_have_text(["source", "edited"])
    inlined = to_html(made, tmp_path)
    assert base64.b64encode((tmp_path / "thumbs" / "wanted.png").read_bytes()).decode() in inlined


def test_the_first_view_has_the_verdict_the_tables_and_only_the_pictures_in_view(report, opened):
    made, path = report
    page = opened.goto(path)
    overall = made["overall"]
    low, high = (f"{bound:.2f}" for bound in overall["interval"])
    expect(page.locator(".verdict")).to_have_text(
        f"qwen_image_edit scores {overall['mean']:.2f} of 10 (95% interval {low} to {high}), judged by qwen3_vl on "
        f"{overall['n']} of {SAMPLES} planned samples from {overall['clusters']} source images."
    )
    expect(page.locator("#scores tbody tr")).to_have_count(len(made["categories"]) + 2)
    expect(page.locator("#grid .card")).to_have_count(48)
    page.locator("#grid img").last.scroll_into_view_if_needed()
    expect(page.locator("#grid img").last).to_have_js_property("complete", True)
    assert page.evaluate("[...document.querySelectorAll('#grid img')].at(-1).naturalWidth") == 128


def test_pictures_load_as_they_come_into_view(report, opened):
    _, path = report
    page = opened.goto(path)
    page.wait_for_load_state("networkidle")
    pictures = page.locator("#grid img").count()
    loaded = len([url for url in opened.requests if "/thumbs/" in url])
    page.locator("#samples").scroll_into_view_if_needed()
    expect(page.locator("#grid img").first).to_have_js_property("naturalWidth", 128)
    assert loaded < len([url for url in opened.requests if "/thumbs/" in url]) < pictures


def test_filters_leave_what_they_say_and_stand_in_the_address(report, opened):
    made, path = report
    samples, page = made["samples"], opened.goto(path)
    page.select_option("[name=category]", "causal")
    assert ids(page) == wanted(samples, category="causal")
    expect(page.locator("#found")).to_have_text(f"{len(wanted(samples, category='causal'))} of {SAMPLES} samples")
    assert page.evaluate("location.hash") == "#category=causal"
    page.fill("[name=min]", "6")
    page.fill("[name=max]", "7.5")
    some = [s["sample_id"] for s in samples if s["category"] == "causal" and s["score"] and 6 <= s["score"] <= 7.5]
    assert some and ids(page) == some
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#found")).to_have_text(f"{SAMPLES} samples")
    page.fill("[name=q]", "SOCIAL/00")
    assert ids(page) == wanted(samples, category="social")
    page.fill("[name=q]", "")
    page.select_option("[name=flag]", "no-op")
    assert ids(page) == [s["sample_id"] for s in samples if s["pixels"] and s["pixels"]["no_op"]] != []
    page.select_option("[name=flag]", "drifted")
    assert ids(page) == [s["sample_id"] for s in samples if s["pixels"] and s["pixels"]["drifted"]] != []


def test_a_count_in_a_table_leads_to_its_samples(report, opened):
    made, path = report
    page = opened.goto(path)
    state, count = next((state, made["counts"][state]) for state in made["errors"])
    page.locator(f"#counts tr.total a[href='#state={state}']").click()
    assert ids(page) == wanted(made["samples"], state=state) and len(ids(page)) == count
    expect(page.locator("[name=state]")).to_have_value(state)
    expect(page.locator("#filters")).to_be_in_viewport()


def test_sorting_by_score_has_samples_without_one_last(report, opened):
    _, path = report
    page = opened.goto(path, "#category=causal")
    for label, way in (("score, lowest first", 1), ("score, highest first", -1)):
        page.select_option("[name=sort]", label=label)
        found = page.locator("#grid .score").all_text_contents()
        scores = [float(score) for score in found if score != "–"]
        assert scores == sorted(scores, key=lambda score: way * score) and len(set(scores)) > 1
        assert found[len(scores) :] == ["–"] * (len(found) - len(scores))


def test_pages_lead_through_all_samples(report, opened):
    made, path = report
    page = opened.goto(path)
    first = ids(page)
    page.get_by_role("button", name="Next page").click()
    assert first + ids(page) == [sample["sample_id"] for sample in made["samples"]]
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    assert page.evaluate("location.hash") == "#page=2"


def test_a_link_opens_one_sample_and_closing_goes_back_to_its_card(report, opened):
    made, path = report
    sample = next(sample for sample in made["samples"] if sample["state"] == "scored")
    page = opened.goto(path, f"#sample={sample['sample_id']}")
    viewer = page.get_by_role("dialog", name=sample["sample_id"])
    expect(viewer).to_contain_text(sample["instruction"])
    expect(viewer).to_contain_text(sample["description"])
    expect(viewer.locator("pre")).to_have_text(sample["reply"])
    expect(viewer.locator("#viewer-facts")).to_contain_text(f"Seed{sample['seed']}")
    expect(viewer.locator("#viewer-facts")).to_contain_text(f"Edit, seconds{sample['edit_latency_s']:.2f}")
    expect(viewer.locator(".images img")).to_have_count(2)
    viewer.get_by_role("button", name="Copy link").click()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("[location.hash, document.activeElement.textContent]") == ["", sample["sample_id"]]


def test_a_failed_sample_shows_its_cause(report, opened):
    made, path = report
    sample = next(sample for sample in made["samples"] if sample["state"] == "judge_failed")
    page = opened.goto(path, f"#sample={sample['sample_id']}")
    expect(page.locator("#viewer-texts")).to_contain_text("RuntimeError: the judge's replica is gone")
    expect(page.locator("#viewer-summary")).to_contain_text("no score judge failed")


def test_arrow_keys_go_through_what_the_filter_leaves(report, opened):
    made, path = report
    first, second, *_ = wanted(made["samples"], category="social")
    page = opened.goto(path, "#category=social")
    page.locator("#grid a").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text(second)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-title")).to_have_text(first)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-title")).to_have_text(first)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-place")).to_have_text(re.compile("^2 of "))
    assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('sample')") == second


def test_the_slider_shows_the_source_left_of_it_and_the_edit_right_of_it(report, opened):
    made, path = report
    changed = max((s for s in made["samples"] if s["pixels"]), key=lambda sample: sample["pixels"]["changed"])
    page = opened.goto(path, f"#sample={changed['sample_id']}")
    page.get_by_role("button", name="Slider").click()
    page.get_by_role("slider", name="Slider between source and edited").focus()
    edited = page.locator(".stack img").nth(1)
    for key, cut in (("ArrowRight", "51%"), ("Home", "0%"), ("End", "100%")):
        page.keyboard.press(key)
        assert edited.evaluate("image => getComputedStyle(image).clipPath") == f"inset(0px 0px 0px {cut})"
    assert page.evaluate("location.hash").endswith("view=slider")
    source = _picture(page.locator(".stack"))
    page.keyboard.press("Home")
    edited = _picture(page.locator(".stack"))
    assert source.size == edited.size and source.tobytes() != edited.tobytes()


def _picture(locator):
    """What a part of the page looks like, without its outermost pixels."""
    picture = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return picture.crop((4, 4, picture.width - 4, picture.height - 4))


def test_the_difference_is_black_where_nothing_was_changed(report, opened):
    made, path = report
    measured = [sample for sample in made["samples"] if sample["pixels"]]
    same = next(sample for sample in measured if sample["pixels"]["no_op"])
    other = next(sample for sample in measured if sample["pixels"]["changed"] > 0.5)
    brightest = []
    for sample in (same, other):
        page = opened.goto(path, f"#sample={sample['sample_id']}&view=difference")
        for picture in page.locator(".stack img").all():
            expect(picture).to_have_js_property("naturalWidth", 128)
        brightest.append(max(high for _, high in _picture(page.locator(".stack")).getextrema()))
        page.goto("about:blank")
    assert brightest[0] == 0 and brightest[1] > 100


@pytest.mark.parametrize("form", ["Markdown", "CSV", "LaTeX"])
def test_a_table_is_copied_whole(report, opened, form):
    made, path = report
    page = opened.goto(path)
    page.get_by_role("button", name=f"Copy “Scores from 0 to 10” as {form}").click()
    expect(page.locator("#scores").locator("xpath=ancestor::section[1]").get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    section = made["categories"]["physical"]
    low, high = section["interval"]
    if form == "CSV":
        rows = list(csv.DictReader(io.StringIO(copied)))
        assert [row["Category"] for row in rows] == [*made["categories"], "All samples", "Mean of categories"]
        assert float(rows[0]["Mean"]) == section["mean"] and float(rows[0]["interval high"]) == high
        assert rows[-1]["Median"] == ""
    elif form == "Markdown":
        head, rule, first, *rest = copied.splitlines()
        assert head.startswith("| Category | Mean | 95% interval | SE |") and rule.startswith("| :--- | ---: |")
        assert first.startswith(f"| physical | {section['mean']:.2f} | {low:.2f} to {high:.2f} |")
        assert len(rest) == len(made["categories"]) + 1
    else:
        assert copied.startswith("\\begin{tabular}{lrrrrrrrrrrrr}\n  \\toprule\n  Category & Mean & 95\\% interval &")
        assert f"  physical & {section['mean']:.2f} &" in copied and copied.endswith("\\end{tabular}\n")


def test_names_are_copied_as_they_stand_there(opened, tmp_path):
    made = made_report(6)
    made["categories"] = {"[x] &amp; *y*": made["categories"]["physical"]}
    (tmp_path / "report.html").write_text(to_html(made), encoding="utf-8")
    page = opened.goto(tmp_path / "report.html")
    copied = {}
    for form in ("Markdown", "LaTeX"):
        page.get_by_role("button", name=f"Copy “Scores from 0 to 10” as {form}").click()
        expect(page.get_by_text("Copied").first).to_be_visible()
        copied[form] = page.evaluate("navigator.clipboard.readText()")
    assert "| \\[x\\] \\&amp; \\*y\\* |" in copied["Markdown"]
    assert "\\midrule\n  {[}x] \\&amp; *y* & " in copied["LaTeX"]


def test_text_of_datasets_and_models_stays_text(opened, tmp_path):
    made = made_report(6)
    for sample in made["samples"]:
        sample |= dict.fromkeys(("sample_id", "category", "instruction", "description", "reply", "error"), HOSTILE)
        sample |= {"state": "unparsed", "thumbs": None}
    made["samples"] = made["samples"][:1]
    made["categories"] = {HOSTILE: made["categories"]["physical"]}
    made |= {"run": HOSTILE, "notes": [HOSTILE], "editor": {"name": HOSTILE, "note": HOSTILE}}
    made["controls"] = {"sentences": [HOSTILE], "rows": [{HOSTILE: HOSTILE}]}
    (tmp_path / "report.html").write_text(to_html(made), encoding="utf-8")
    page = opened.goto(tmp_path / "report.html")
    page.locator("#grid a").click()
    expect(page.locator("#viewer pre")).to_have_text(HOSTILE)
    expect(page.locator("#viewer-title")).to_have_text(HOSTILE)
    page.wait_for_load_state("networkidle")
    assert page.locator("img, [onerror]").count() == 0
    assert page.locator("script").count() == 3
    assert page.evaluate("document.querySelector('#scores th[scope=row]').textContent").startswith("<img src=x onerror")


def test_without_javascript_there_are_the_tables_and_the_charts(report, browser):
    _, path = report
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    for table in ("scores", "counts", "failed", "pixels", "controls-per_kind", "phases", "environment"):
        expect(page.locator(f"#{table}")).to_be_visible()
    assert page.locator("svg[role=img]").count() > 6
    expect(page.get_by_text("The gallery needs JavaScript")).to_be_visible()
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.get_by_role("button", name="Markdown")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, scheme, tmp_path):
    made = made_report(6, seed=3, folder=tmp_path, notes=["A note.", "These mean nothing."])
    (tmp_path / "report.html").write_text(to_html(made), encoding="utf-8")
    opened.page.emulate_media(color_scheme=scheme)
    page = opened.goto(tmp_path / "report.html")
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else None  # only colours differ
    found = Axe().run(page, options=rules)
    assert found.violations_count == 0, found.generate_report()
    page.locator("#grid a").last.click()
    page.get_by_role("button", name="Slider").click()
    found = Axe().run(page, context="#viewer", options=rules)
    assert found.violations_count == 0, found.generate_report()


def test_400_pixels_are_wide_enough(report, opened):
    _, path = report
    opened.page.set_viewport_size({"width": 400, "height": 800})
    page = opened.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.locator("#grid a").first.click()
    for mode in ("Side by side", "Slider"):
        page.get_by_role("button", name=mode).click()
        assert page.locator("#viewer-body").evaluate("box => box.scrollWidth - box.clientWidth") == 0
        assert page.locator("#viewer").evaluate("box => box.getBoundingClientRect().width") <= 400


def test_a_single_file_holds_its_pictures(report, opened, tmp_path):
    made, path = report
    (tmp_path / "alone.html").write_text(to_html(made, inline_from=path.parent), encoding="utf-8")
    page = opened.goto(tmp_path / "alone.html")
    page.locator("#samples").scroll_into_view_if_needed()
    expect(page.locator("#grid img").first).to_have_js_property("naturalWidth", 128)
    assert [url for url in opened.requests if url.startswith("file:")] == [page.url]


def test_a_picture_that_is_not_there_is_named_so(report, browser, tmp_path):
    _, path = report
    (tmp_path / "report.html").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("#samples").scroll_into_view_if_needed()
    expect(page.locator("#grid .missing").first).to_have_text("image not found beside this page")
    page.close()
