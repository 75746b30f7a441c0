"""The pages without a browser: verdicts, tables, charts, the policy, hostile text, reports of earlier versions."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from made_report import made_comparison, made_report
from PIL import Image

from editbench.views import charts
from editbench.views.compare_tables import comparison_tables
from editbench.views.gallery import as_script_data, comparison_gallery, outcome, report_gallery
from editbench.views.html import compare_to_html, to_html
from editbench.views.pixel_tables import pixels
from editbench.views.record_tables import controls
from editbench.views.report_tables import MAX_FAILED_SHOWN, failed_samples, scores
from editbench.views.tables import between, number, rate, rounded, span, whole, words
from editbench.views.verdict import report_verdict

OLD = ("interval", "standard_error", "clusters", "histogram", "piled_up", "pixels", "failed_rate", "macro")


class Parsed(HTMLParser):
    """All tags with their attributes, and the text of scripts and styles."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.blocks = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.blocks.append((*self.tags[-1], data))


def without_scripts(page):
    return re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)


def test_numbers_for_people_and_for_csv():
    assert (rounded(7.128), rounded(-0.5, 1, sign=True), rounded(1234.5, 1)) == ("7.13", "\N{MINUS SIGN}0.5", "1,234.5")
    assert (rounded(None), rounded(float("nan")), between(None)) == ("–", "–", "–")
    assert number(7.128).values == ("7.128",) and number(None).values == ("",)
    assert (span([6.9, 7.4]).text, span([6.9, 7.4]).values, span(None).values) == (
        "6.90 to 7.40",
        ("6.9", "7.4"),
        ("", ""),
    )
    counted = rate({"count": 3, "of": 12, "rate": 0.25, "interval": [0.089, 0.532]})
    assert (counted.text, counted.values) == ("25.0% (8.9% to 53.2%)", ("3", "12", "0.25", "0.089", "0.532"))
    assert rate(None).text == "–" and len(rate(None).values) == 5
    assert whole(0, "#state=unparsed").link is None and whole(2, "#state=unparsed").link == "#state=unparsed"
    assert words("a\n b\u202e\x00").text == "a b\ufffd\ufffd"


def test_the_verdict_of_a_report():
    overall = {"mean": 7.382, "interval": [7.104, 7.66], "clusters": 90}
    report = {"counts": {"planned": 1270, "scored": 1262}, "overall": overall, "editor": {"name": "e"}}
    report["judge"] = {"name": "j"}
    assert report_verdict(report) == (
        "e scores 7.38 of 10 (95% interval 7.10 to 7.66), judged by j on 1,262 of 1,270 planned samples from 90 source "
        "images."
    )
    random = {**report, "judge": {"name": "j", "checkpoint_note": "Random weights: scores mean nothing."}}
    assert report_verdict(random).startswith("No verdict: these scores mean nothing,")
    single = {**report, "overall": {"mean": 3.0, "interval": None, "clusters": 1}}
    assert "3.00 of 10 (no interval: too few source images), judged" in report_verdict(single)
    nothing = {**report, "overall": {"mean": None}}
    assert report_verdict(nothing) == "No verdict: none of 1,270 planned samples has a score yet."


def test_the_verdict_says_which_controls_the_judge_was_not_seen_to_tell_apart():
    report = made_report(6)
    kinds = report["controls"]["per_kind"]
    assert report_verdict(report).startswith("qwen_image_edit scores ")
    kinds[0]["told_apart"], kinds[2]["told_apart"] = False, None
    says = (
        "Doubtful: controls do not show that the judge tells real edits from unchanged, noise. qwen_image_edit scores "
    )
    assert report_verdict(report).startswith(says)
    assert '<p class="verdict doubtful">Doubtful' in to_html(report)


def test_a_note_that_takes_the_ground_from_the_numbers_stands_out():
    notes = ["PARTIAL: of 4 samples 2 not judged yet", "judge: these scores mean nothing", "shape: 1 of 4"]
    page = to_html(made_report(3, notes=notes))
    assert [bool(strong) for strong in re.findall(r'class="banner( strong)?" role="note"', page)] == [True, True, False]


def test_the_tables_of_a_comparison():
    comparison = made_comparison(15)
    tables = comparison_tables(comparison)
    assert list(tables) == ["runs", "shared", "pair-0"]
    assert [cell.text for cell in tables["runs"].rows[1]][:3] == ["other", "qwen_image_edit", "qwen3_vl"]
    last = tables["pair-0"].rows[-1]
    assert [last[0].text, last[5].text] == ["All samples, failures as 0", "\N{MINUS SIGN}0.20"]
    assert tables["pair-0"].totals == 2
    first, *others = comparison["pairs"] * 3
    comparison["pairs"] = [first, *others]
    comparison["ranking"] = [
        {"name": "a", "mean": 7.25, "n": 15, "ties_with_next": True},
        {"name": "b", "mean": None, "n": 0, "ties_with_next": None},
    ]
    tables = comparison_tables(comparison)
    assert list(tables) == ["runs", "ranking", "pairs", "shared", "pair-0", "pair-1", "pair-2"]
    assert [[cell.text for cell in row] for row in tables["ranking"].rows] == [
        ["1", "a", "7.25", "15", "cannot be told from the next"],
        ["–", "b", "–", "0", "not ranked: without a score"],
    ]


def test_the_table_of_scores_has_both_means_and_what_they_rest_on():
    report = made_report(30)
    table = scores(report)
    head = [column.label for column in table.columns]
    rows = {row[0].text: dict(zip(head, row, strict=True)) for row in table.rows}
    assert list(rows) == [*report["categories"], "All samples", "Mean of categories"]
    section = report["categories"]["causal"]
    assert rows["causal"]["Mean"].values == (repr(section["mean"]),)
    assert rows["causal"]["Scored"].text == str(section["counts"]["scored"])
    assert rows["causal"]["Category"].link == "#category=causal"
    assert rows["Mean of categories"]["Mean"].values == (repr(report["overall"]["macro"]["mean"]),)
    for column in table.columns:
        lengths = {len(rows[name][column.label].values) for name in rows}
        assert column.text or lengths == {max(1, len(column.names))}, column.label


def test_a_name_in_a_link_cannot_become_another_filter():
    report = made_report(3)
    report["categories"] = {"a&state=b c#": report["categories"]["physical"]}
    assert scores(report).rows[0][0].link == "#category=a%26state%3Db+c%23"


def test_the_first_failed_samples_are_listed_and_counted():
    report = made_report(MAX_FAILED_SHOWN + 2)
    for sample in report["samples"]:
        sample |= {"state": "edit_failed", "error_type": "ValueError", "error": "broken"}
    table = failed_samples(report)
    assert table.caption == "Failed samples (the first 50 of 52)"
    assert [cell.text for cell in table.rows[0]] == ["physical/0000", "edit failed", "ValueError: broken"]


def test_rows_of_controls_become_a_table_with_their_own_columns():
    rate = {"count": 1, "of": 4, "rate": 0.25, "interval": [0.1, 0.5]}
    rows = [{"control": "black", "n": 4, "told_apart": True, "rate": rate}, {"control": "noise", "interval": [1, 2.5]}]
    found = {"rows": rows, "judge": "j", "sentences": ["a sentence"], "empty": [], "order": None, "one": {"n": 3}}
    table, one = controls({"controls": found})
    assert (one.key, [[cell.text for cell in row] for row in one.rows]) == ("controls-one", [["3"]])
    assert [(column.label, column.text) for column in table.columns[:3]] == [
        ("Control", True),
        ("N", False),
        ("Told apart", False),
    ]
    assert [cell.text for cell in table.rows[0]] == ["black", "4", "yes", "25.0% (10.0% to 50.0%)", "–"]
    assert table.rows[1][4].text == "1.00 to 2.50"
    assert controls({"controls": None}) == []


def test_what_pixels_say_is_there_only_where_it_was_measured():
    report = made_report(9)
    assert len(pixels(report).rows) == len(report["categories"]) + 1
    for section in (report["overall"], *report["categories"].values()):
        section["pixels"] = None
    assert pixels(report).rows == []
    assert "chapter-pixels" not in to_html(report)


def test_a_report_of_an_earlier_version_has_dashes():
    report = made_report(12)
    kept = ("sample_id", "category", "state", "score", "answered", "error_type", "error")
    report["samples"] = [{key: sample[key] for key in kept} for sample in report["samples"]]
    for section in (report["overall"], *report["categories"].values()):
        for key in (*OLD, "mean_with_failures_as_min", "mean_range"):
            section.pop(key, None)
    for key in ("partial", "controls", "metrics"):
        del report[key]
    page = to_html(report)
    assert "(no interval), judged" in page and '<td data-values="|">–</td>' in page
    assert "undefined" not in without_scripts(page) and "None" not in without_scripts(page)


def test_a_run_without_anything_has_a_page():
    none = {"mean": None, "std": None, "median": None, "min": None, "max": None, "n": 0, "answered": {}}
    counts = dict.fromkeys(("planned", "not_edited_yet"), 4) | dict.fromkeys(("edited", "scored", "not_judged_yet"), 0)
    report = {"run": "new", "notes": [], "counts": counts, "overall": none, "categories": {}, "errors": {}}
    report |= {"editor": None, "judge": None, "phases": {"edit": None, "score": None}, "samples": [], "config": {}}
    page = to_html({**report, "editbench": "0.1.0", "created": "now"})
    assert "No verdict: none of 4 planned samples has a score yet." in page
    assert "not run" in page


@pytest.mark.parametrize(
    "page", [to_html(made_report(6)), compare_to_html(made_comparison(15))], ids=["report", "both"]
)
def test_the_policy_allows_these_scripts_and_styles_and_no_other(page):
    parsed = Parsed(page)
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    run = [
        text for tag, attributes, text in parsed.blocks if tag == "script" and "type" not in attributes and text.strip()
    ]
    (style,) = [text for tag, _, text in parsed.blocks if tag == "style" and text.strip()]

    def digest(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules["script-src"].split() == [digest(text) for text in run] and len(run) == 2
    assert rules["style-src"] == digest(style)
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert not [value for name, value in attributes.items() if name in ("src", "href") and "//" in value]


def test_data_in_a_script_cannot_end_it():
    data = {"a": "</script><!--<script>&\u2028\u2029\x00", "b": "语言 \ud800"}
    text = as_script_data(data)
    assert not set(text) & set("<>&\u2028\u2029\x00")
    assert json.loads(text) == {**data, "b": "语言 ?"}


def test_hostile_names_are_text_in_every_place():
    hostile = '"><img src=x onerror=alert(1)>{{ 7 * 7 }}</script>'
    report = made_report(3)
    report["samples"][0] |= {"sample_id": hostile, "category": hostile, "state": "unparsed", "error": hostile}
    section = {**report["categories"]["physical"], "piled_up": {"value": 7.0, "share": 0.6}}
    report |= {"categories": {hostile: section}, "errors": {hostile: {hostile: 1}}, "run": hostile, "notes": [hostile]}
    report |= {"editor": {"name": hostile}, "judge": {hostile: hostile}, "config": {hostile: hostile}}
    report |= {"controls": {"sentences": [hostile], hostile: [{hostile: hostile}]}, "created": hostile}
    page = to_html(report)
    assert "img" not in {tag for tag, _ in Parsed(page).tags}
    assert page.count("{{ 7 * 7 }}") > 10 and page.count("</script>") == 3
    assert "60% of the scores are 7.00" in page


def test_samples_are_given_without_what_is_not_known():
    report = made_report(1)
    (sample,) = report["samples"]
    sample |= {"state": "pending", "score": None, "pixels": None, "thumbs": None, "reply": None, "edit_latency_s": None}
    (shown,) = report_gallery(report)["samples"]
    assert shown["images"] == [None, None] and shown["values"] == {}
    assert not {"score", "reply", "cause", "flags"} & shown.keys()


def test_facts_stand_under_their_names():
    report = made_report(1)
    pixels = {"changed": 0.25, "psnr": 31.26, "ssim": 0.9, "psnr_outside": 40.0, "ssim_outside": 0.99}
    pixels |= {"mask_share": 0.5, "psnr_inside": None, "ssim_inside": 1.0}
    pixels |= {"shift": [0.61, -0.2], "zoom": 1.012, "drifted": True, "size_changed": True}
    report["samples"][0] |= {"pixels": pixels, "scores": [7, 8.5], "seed": 0, "source_size": [640, 480]}
    shown = report_gallery(report)
    facts = dict(zip(shown["fact_names"], shown["samples"][0]["facts"], strict=True))
    assert facts["Seed"] == "0" and facts["Source, pixels"] == "640 × 480"
    assert facts["Scores of the repeats"] == "7.00, 8.50" and facts["Changed pixels"] == "25.0%"
    assert facts["Outside the mask: PSNR, SSIM"] == "40.0 dB, 0.990"
    assert facts["Inside the mask: PSNR, SSIM"] == "identical"
    assert facts["Shift, % of width and height"] == "+0.61, \N{MINUS SIGN}0.20" and facts["Zoom"] == "1.0120"
    assert shown["samples"][0]["flags"] == ["drifted", "size changed"]


def test_a_comparison_names_what_became_of_a_sample():
    assert [outcome(difference) for difference in (None, 0, -0.5, 2)] == ["no score", "tie", "loss", "win"]
    comparison = made_comparison(15)
    comparison["samples"][0] |= {"thumbs": {"source": "../a b/t#1.png"}, "scores": {"base": 9.0, "other": None}}
    shown = comparison_gallery(comparison)["samples"][0]
    assert shown["images"] == ["../a%20b/t%231.png", None, None] and shown["scores"] == [None, 9.0, None]


def test_a_single_file_holds_every_picture_once_and_leaves_out_the_missing(tmp_path):
    report = made_report(3, folder=tmp_path)
    for sample in report["samples"]:
        sample["thumbs"] = {"source": "thumbs/source-0000.png", "edited": "thumbs/gone.png"}
    Image.new("RGB", (2, 2), "red").save(tmp_path / "thumbs" / "source-0000.png")
    page = to_html(report, inline_from=tmp_path)
    data = json.loads(next(text for tag, a, text in Parsed(page).blocks if a.get("id") == "data" and text.strip()))
    encoded = base64.b64encode((tmp_path / "thumbs" / "source-0000.png").read_bytes()).decode()
    assert data["inlined"] == {"thumbs/source-0000.png": f"data:image/png;base64,{encoded}"}


def test_a_histogram_has_a_bar_per_bin_as_high_as_its_count():
    svg = ElementTree.fromstring(charts.histogram([0, 3, 6], 'a "title" <b>', height=60))
    bars = [(float(bar.get("x")[:-1]), float(bar.get("height"))) for bar in svg.iter("rect")]
    assert [height for _, height in bars] == [0, 30, 60]
    assert [round(place) for place, _ in bars] == [2, 35, 69]
    assert svg.get("aria-label") == 'a "title" <b>' and svg.get("role") == "img"


def test_an_interval_lies_on_its_axis_and_is_cut_at_its_ends():
    svg = ElementTree.fromstring(charts.interval(5.0, [-3.0, 7.5], (0.0, 10.0), 2.5, "t"))
    assert svg.find("circle").get("cx") == "50.000%"
    lines = [(line.get("class"), line.get("x1"), line.get("x2")) for line in svg.iter("line")]
    assert ("mark", "25.000%", "25.000%") in lines and ("whisker", "0.000%", "75.000%") in lines
    assert ElementTree.fromstring(charts.interval(None, None, (0.0, 10.0), 2.5, "t")).find("circle") is None


def test_a_scatter_has_a_point_per_pair_the_larger_the_more_samples_it_stands_for():
    svg = ElementTree.fromstring(charts.scatter({(0.0, 10.0): 1, (5.0, 5.0): 4}, ("a", "b"), "t"))
    first, second = svg.iter("circle")
    assert float(first.get("r")) > float(second.get("r")) == 3
    assert (float(second.get("cx")), float(second.get("cy"))) == (34, 34)
    assert first.get("cx") == first.get("cy") == "204.0"
