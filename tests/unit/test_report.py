"""The report on run folders made by hand: counts that add up, and no number that nobody gave."""

import dataclasses
import json
import re

import pytest
from rich.console import Console
from running import CHECKOUT, run_python

from editbench.config.schema import ReportConfig
from editbench.errors import UserError
from editbench.report import build_report, write_report
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, Judgment, Sample
from editbench.views.console import plan_table, score_table, show_report
from editbench.views.gallery import report_gallery
from editbench.views.html import to_html
from editbench.views.markdown import text, to_markdown

STATISTICS = ("mean", "std", "median", "min", "max")


class Run:
    """A run folder that is filled in by hand."""

    def __init__(self, root):
        self.dir = RunDir(root)
        self.dir.create()
        self.samples = []

    def sample(self, sample_id, category="physical"):
        index = len(self.samples)
        self.samples.append(
            Sample(index, sample_id, f"key-{index}", category, "Change it", "A picture", "ab" * 32, [index, 0, 1])
        )
        return self.samples[-1]

    def plan(self, skipped=()):
        self.dir.write_plan(Plan({}, self.samples, list(skipped)))

    def edited(self, sample, sha256="1" * 64):
        self._edit(sample, "edited", sha256=sha256, shard=0, offset=1024, length=10, width=4, height=3)

    def failed_edit(self, sample, state="edit_failed", error="no picture", error_type="ValueError"):
        self._edit(sample, state, error_type=error_type, error=error)

    def _edit(self, sample, state, **fields):
        lines = JsonLines(self.dir.edits_index)
        lines.append(Edit(sample.sample_id, sample.category, state, "unit", sample_input(sample), 1, **fields))
        lines.close()

    def judged(self, sample, state="scored", score=None, judge="tiny", image_sha256="1" * 64, **fields):
        lines = JsonLines(self.dir.judgments_of(judge))
        lines.append(Judgment(sample.sample_id, sample.category, state, "unit", image_sha256, score, **fields))
        lines.close()

    def session(self, phase, started, wall_s, samples, name="tiny", **component):
        self.dir.write_session(
            {
                "phase": phase,
                "started": started,
                "state": "done",
                "wall_s": wall_s,
                "samples": samples,
                "world_size": 2,
                "devices": ["cpu", "cpu"],
                "component": {"name": name, "class": "pkg.Class", **component},
                "environment": {"versions": {"pillow": "13"}, "git_commit": None, "python": "3.11", "host": "here"},
            }
        )

    def report(self, judge="tiny"):
        return build_report(self.dir, judge)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "my-run")


@pytest.fixture
def every_state(run):
    """Twelve samples, in every state there is, in two categories that take turns."""
    outcomes = [
        ("pending", None),
        ("scored", 8.0),
        ("edited", None),
        ("edit_failed", None),
        ("scored", 2.0),
        ("invalid_output", None),
        ("unparsed", None),
        ("scored", 5.0),
        ("judge_failed", None),
        ("scored", 0.0),
        ("scored", 10.0),
        ("scored", 6.0),
    ]
    for i, (state, score) in enumerate(outcomes):
        sample = run.sample(f"s{i:02d}", ["social", "physical"][i % 2])
        if state in ("edit_failed", "invalid_output"):
            run.failed_edit(sample, state)
        elif state != "pending":
            run.edited(sample)
        if state == "scored":
            run.judged(sample, score=score, reply=f"Score: {score}")
        elif state == "unparsed":
            run.judged(sample, "unparsed", reply="hm", completion="?")
        elif state == "judge_failed":
            run.judged(sample, "judge_failed", error_type="RuntimeError", error="out of memory")
    run.plan(skipped=[{"index": 12, "sample_id": "bad", "problem": "is missing"}])
    return run


def add_up(counts):
    failed = counts["edit_failed"] + counts["invalid_output"]
    assert counts["planned"] == counts["edited"] + failed + counts["not_edited_yet"]
    judged = counts["scored"] + counts["unparsed"] + counts["judge_failed"]
    assert counts["edited"] == judged + counts["not_judged_yet"]


def test_every_state_is_counted_once(every_state):
    report = every_state.report()
    assert report["counts"] == {
        "planned": 12,
        "edited": 9,
        "scored": 6,
        "edit_failed": 1,
        "invalid_output": 1,
        "unparsed": 1,
        "judge_failed": 1,
        "not_edited_yet": 1,
        "not_judged_yet": 1,
        "skipped": 1,
    }
    add_up(report["counts"])
    for section in report["categories"].values():
        add_up(section["counts"])
    for key in set(report["counts"]) - {"skipped"}:
        assert report["counts"][key] == sum(s["counts"][key] for s in report["categories"].values())


def test_free_and_prefilled_scores_are_told_apart(run):
    given = [(8.0, "Score: 8", None), (7.0, "Score: 7", None), (6.0, "hm", "6"), (None, "hm", "?")]
    for i, (score, reply, completion) in enumerate(given):
        sample = run.sample(f"s{i}", ["social", "physical"][i % 2])
        run.edited(sample)
        state = "unparsed" if score is None else "scored"
        run.judged(sample, state, score=score, reply=reply, completion=completion)
    run.plan()
    report = run.report()
    assert report["overall"]["answered"] == {"free": 2, "prefilled": 1}
    assert report["categories"]["social"]["answered"] == {"free": 1, "prefilled": 1}
    assert [sample["answered"] for sample in report["samples"]] == ["free", "free", "prefilled", None]
    shown = to_markdown(report)
    assert (
        "Read from free replies: 2 (66.7%); completed by the judge behind the prefilled `Score:`: 1 (33.3%)." in shown
    )


def test_scores_by_probabilities_are_neither_free_nor_prefilled(run):
    sample = run.sample("s0")
    run.edited(sample)
    run.judged(sample, score=7.0, label_probabilities={"7": 1.0}, label="7", label_mass=1.0, spread=0.0)
    run.plan()
    report = run.report()
    assert report["overall"]["answered"] == {"probabilities": 1}
    assert "free replies" not in to_markdown(report)


def test_statistics_per_category_and_overall_rest_on_scores_alone(every_state):
    report = every_state.report()
    # social: s00 pending, s02 edited, s04 2.0, s06 unparsed, s08 judge_failed, s10 10.0
    # physical: s01 8.0, s03 edit_failed, s05 invalid_output, s07 5.0, s09 0.0, s11 6.0
    social, physical = report["categories"]["social"], report["categories"]["physical"]
    assert [social[key] for key in STATISTICS] == pytest.approx([6.0, 32**0.5, 6.0, 2.0, 10.0])
    assert [physical[key] for key in STATISTICS] == pytest.approx([4.75, (34.75 / 3) ** 0.5, 5.5, 0.0, 8.0])
    assert (social["n"], physical["n"], report["overall"]["n"]) == (2, 4, 6)
    assert report["overall"]["mean"] == pytest.approx(31 / 6)
    assert report["overall"]["median"] == 5.5
    assert (report["best_category"], report["worst_category"]) == ("social", "physical")


def test_samples_and_categories_stand_in_dataset_order(every_state):
    report = every_state.report()
    assert [o["sample_id"] for o in report["samples"]] == [f"s{i:02d}" for i in range(12)]
    assert list(report["categories"]) == ["social", "physical"]


def test_the_order_in_which_results_arrived_does_not_show(tmp_path):
    reports = []
    for name, step in (("a", 1), ("b", -1)):
        run = Run(tmp_path / name)
        samples = [run.sample(f"s{i}", "physical") for i in range(5)]
        run.plan()
        for sample in samples[::step]:
            run.edited(sample)
        for sample in samples[::-step]:
            run.judged(sample, score=float(sample.index))
        reports.append(run.report())
    assert reports[0]["samples"] == reports[1]["samples"]
    assert reports[0]["overall"] == reports[1]["overall"]


def test_each_sample_tells_state_score_and_cause(every_state):
    samples = {o["sample_id"]: o for o in every_state.report()["samples"]}
    assert samples["s01"] == {
        "sample_id": "s01",
        "key": "key-1",
        "category": "physical",
        "state": "scored",
        "score": 8.0,
        "answered": "free",
        "error_type": None,
        "error": None,
        "instruction": "Change it",
        "instruction_in_other_language": None,
        "description": "A picture",
        "source": "ab" * 8,
        "image_sha256": "1" * 64,
        "source_size": None,
        "edited_size": [4, 3],
        "seed": 1,
        "reply": "Score: 8.0",
        **dict.fromkeys(("edit_latency_s", "judge_latency_s", "completion", "label", "label_mass", "spread", "scores")),
        **dict.fromkeys(("named_scores", "pixels", "thumbs", "metrics", "replies", "completions")),
    }
    assert (samples["s00"]["state"], samples["s00"]["score"]) == ("pending", None)
    assert (samples["s03"]["state"], samples["s03"]["error"]) == ("edit_failed", "no picture")
    assert (samples["s06"]["state"], samples["s06"]["score"], samples["s06"]["error"]) == ("unparsed", None, None)
    assert (samples["s08"]["error_type"], samples["s08"]["error"]) == ("RuntimeError", "out of memory")


def test_causes_are_counted_by_state_and_type(every_state):
    assert every_state.report()["errors"] == {
        "edit_failed": {"ValueError": 1},
        "invalid_output": {"ValueError": 1},
        "unparsed": {"no score in the answer": 1},
        "judge_failed": {"RuntimeError": 1},
    }


@pytest.mark.parametrize("progress", ["planned", "edited", "all failed", "unparsed"])
def test_without_a_score_every_statistic_is_null(run, progress):
    sample = run.sample("a")
    run.plan()
    if progress in ("edited", "unparsed"):
        run.edited(sample)
    if progress == "unparsed":
        run.judged(sample, "unparsed", reply="five out of ten")
    if progress == "all failed":
        run.failed_edit(sample)
    report = run.report()
    for section in (report["overall"], report["categories"]["physical"]):
        assert [section[key] for key in STATISTICS] == [None] * 5
        assert section["n"] == 0
    assert (report["best_category"], report["worst_category"]) == (None, None)
    write_report(run.dir, report)
    assert '"mean": null' in (run.dir.root / "report.json").read_text()
    assert [row[1:7] for row in rows(to_markdown(report), "## Scores")[2:]] == [["–"] * 6] * 2


def test_a_score_of_zero_is_a_score(run):
    sample = run.sample("a")
    run.plan()
    run.edited(sample)
    run.judged(sample, score=0.0)
    assert run.report()["overall"]["mean"] == 0.0
    assert run.report()["counts"]["scored"] == 1


def test_a_judgment_of_an_older_image_does_not_count(run):
    sample = run.sample("a")
    run.plan()
    run.edited(sample, sha256="1" * 64)
    run.judged(sample, score=9.0, image_sha256="1" * 64)
    assert run.report()["counts"]["scored"] == 1
    run.edited(sample, sha256="2" * 64)
    report = run.report()
    assert (report["counts"]["scored"], report["counts"]["not_judged_yet"]) == (0, 1)
    assert report["overall"]["mean"] is None
    run.judged(sample, score=3.0, image_sha256="2" * 64)
    assert run.report()["overall"]["mean"] == 3.0


def test_a_score_of_an_edit_that_has_failed_since_does_not_count(run):
    sample = run.sample("a")
    run.plan()
    run.edited(sample)
    run.judged(sample, score=9.0)
    run.failed_edit(sample)
    report = run.report()
    assert (report["counts"]["edit_failed"], report["counts"]["scored"]) == (1, 0)
    assert report["overall"]["mean"] is None


def test_results_of_samples_that_are_not_planned_do_not_count(run):
    planned, gone = run.sample("a"), run.sample("gone")
    for sample in (planned, gone):
        run.edited(sample)
        run.judged(sample, score=float(sample.index))
    run.samples = [planned]
    run.plan()
    report = run.report()
    assert (report["counts"]["planned"], report["overall"]["n"], report["overall"]["mean"]) == (1, 1, 0.0)


# ---- judges, starts, notes ----


def test_each_judge_is_reported_by_itself(run):
    sample = run.sample("a")
    run.plan()
    run.edited(sample)
    run.judged(sample, score=9.0, judge="tiny")
    run.judged(sample, score=1.0, judge="qwen3_vl")
    run.session("score", "t1", 2.0, 1, name="tiny", checkpoint="a")
    run.session("score", "t2", 4.0, 1, name="qwen3_vl", checkpoint="b")
    assert (run.report("tiny")["overall"]["mean"], run.report("tiny")["judge"]["checkpoint"]) == (9.0, "a")
    assert (run.report("qwen3_vl")["overall"]["mean"], run.report("qwen3_vl")["judge"]["checkpoint"]) == (1.0, "b")
    assert run.report("qwen3_vl")["phases"]["score"]["wall_s"] == 4.0


def test_a_judge_that_has_not_judged_is_an_error_that_names_those_that_have(run):
    sample = run.sample("a")
    run.plan()
    run.judged(sample, score=1.0, judge="qwen3_vl")
    run.judged(sample, score=1.0, judge="fake")
    with pytest.raises(UserError, match=r"no judgments by 'tiny', only by fake, qwen3_vl; choose with judge=…"):
        run.report("tiny")


def test_a_folder_without_a_run_is_an_error(run):
    with pytest.raises(UserError, match=r"my-run: there is no run here"):
        run.report()


def test_images_per_second_count_all_starts_of_a_phase(run):
    run.sample("a")
    run.plan()
    run.session("edit", "t1", 10.0, 3)
    run.session("edit", "t2", 30.0, 5)
    phase = run.report()["phases"]["edit"]
    assert (phase["starts"], phase["samples"], phase["wall_s"], phase["images_per_s"]) == (2, 8, 40.0, 0.2)
    assert phase["started"] == "t2"
    assert run.report()["phases"]["score"] is None
    assert run.report()["judge"] is None


def test_seconds_per_image_are_the_median_of_those_with_a_result(run):
    for sample_id, latency_s in {"a": 1.0, "b": 4.0, "c": 2.0}.items():
        run._edit(run.sample(sample_id), "edited", latency_s=latency_s)
    run._edit(run.sample("d"), "edit_failed", latency_s=0.1)
    run.judged(run.samples[0], score=1.0, latency_s=3.0)
    run.judged(run.samples[1], "judge_failed", latency_s=9.0)
    run.plan()
    run.session("edit", "t1", 10.0, 4, denoiser_passes_per_edit=100.0)
    run.session("score", "t2", 10.0, 2)
    report = run.report()
    assert [phase["median_latency_s"] for phase in report["phases"].values()] == [2.0, 3.0]
    assert "| edit | 1 | 10.0 | 4 | 0.400 | 2.000 |" in to_markdown(report)
    assert "- denoiser\\_passes\\_per\\_edit: 100.0" in to_markdown(report)


def test_a_phase_that_took_no_time_has_no_rate(run):
    run.sample("a")
    run.plan()
    run.session("edit", "t1", 0.0, 0)
    assert run.report()["phases"]["edit"]["images_per_s"] is None
    assert "| edit | 1 | 0.0 | 0 | – |" in to_markdown(run.report())


def test_notes_of_fakes_and_checkpoints_come_before_the_numbers(run):
    run.sample("a")
    run.plan()
    run.session("edit", "t1", 1.0, 1, note="FAKE editor: no model.")
    run.session("score", "t1", 1.0, 1, checkpoint_note="Random weights.")
    report = run.report()
    assert report["notes"][1:] == ["editor: FAKE editor: no model.", "judge: Random weights."]
    markdown = to_markdown(report)
    assert markdown.index("Random weights.") < markdown.index("## Scores")


def test_real_models_need_no_note(run):
    run.sample("a")
    run.plan()
    run.session("edit", "t1", 1.0, 1, checkpoint_note="")
    assert [note[:8] for note in run.report()["notes"]] == ["PARTIAL:"]


def test_edits_of_another_shape_than_their_source_are_told_before_the_numbers(run, capsys):
    #        source        edit            one side longer to the other by
    sizes = [(100, 100, 104, 100), (100, 100, 106, 100), (100, 100, 100, 125), (200, 100, 100, 100), (64, 48, 128, 96)]
    for i, (source_width, source_height, width, height) in enumerate(sizes):
        sides = {"source_width": source_width, "source_height": source_height, "width": width, "height": height}
        run._edit(run.sample(f"s{i}"), "edited", sha256="1" * 64, **sides)
    run.failed_edit(run.sample("failed"))
    run.plan()
    report = run.report()
    assert report["shape"] == {
        "compared": 5,
        "changed": 3,
        "median_change": 0.25,
        "largest_change": 1.0,
        "largest_change_of": "s3",
    }
    said = "shape: 3 of 5 edits have another aspect ratio than their source, by 25% in the median, 100% at most (s3)"
    assert report["notes"][1:] == ["editor: not on record, sessions.json is missing", said]
    show_report(Console(width=200), report, write_report(run.dir, report))
    assert said in capsys.readouterr().out
    markdown = to_markdown(report)
    assert markdown.index(said) < markdown.index("## Scores")


def test_edits_of_the_shape_of_their_source_need_no_note(run):
    run._edit(run.sample("a"), "edited", sha256="1" * 64, source_width=4, source_height=3, width=8, height=6)
    run._edit(run.sample("b"), "edited", sha256="2" * 64, width=8, height=1)  # the source's size is not on record
    run.plan()
    run.session("edit", "t1", 1.0, 2)
    report = run.report()
    assert (report["shape"]["compared"], report["shape"]["changed"], report["notes"][1:]) == (1, 0, [])
    assert report["shape"]["largest_change"] is None


def test_the_configuration_of_the_run_is_in_the_report(run):
    run.sample("a")
    run.plan()
    run.dir.write_config({"seed": 42, "editor": {"negative_prompt": " "}})
    assert run.report()["config"] == {"seed": 42, "editor": {"negative_prompt": " "}}


# ---- files ----


def test_the_report_is_written_under_both_names_with_equal_content(every_state):
    report = every_state.report() | {"created": "2026-03-04T05:06:07.123+00:00"}
    assert write_report(every_state.dir, report) == every_state.dir.root / "report.md"
    root = every_state.dir.root
    names = {path.name for path in root.iterdir() if "report" in path.name}
    assert names == {
        "report.json",
        "report.md",
        "report.html",
        "evaluation_report_20260304_050607.json",
        "evaluation_report_20260304_050607.md",
        "evaluation_report_20260304_050607.html",
    }
    for suffix in ("json", "md"):
        named = root / f"evaluation_report_20260304_050607.{suffix}"
        assert (root / f"report.{suffix}").read_bytes() == named.read_bytes()
    assert json.loads((root / "report.json").read_bytes()) == report


def rows(markdown, heading):
    part = markdown.split(heading, 1)[1]
    table = re.search(r"\n\|.*?(?=\n\n|$)", part, re.S).group(0).strip().splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def test_markdown_shows_how_many_samples_each_mean_rests_on(every_state):
    table = rows(to_markdown(every_state.report()), "## Scores")
    assert table[0] == ["category", "mean", "95 % interval", "std", "median", "min", "max", "scored", "failed"]
    assert table[2] == ["social", "6.000", "–", "5.657", "6.000", "2.000", "10.000", "2 of 6", "2"]  # of one source
    assert table[3][-2:] == ["4 of 6", "2"]
    assert table[4][0] == "overall"
    assert table[4][-2:] == ["6 of 12", "4"]


def test_the_gallery_shows_each_reply_that_a_mean_is_made_of(run):
    sample = run.sample("a")
    run.edited(sample)
    replies, completions = ["Score: 2.070", "It fits.", None], [None, "7.930", None]
    said = {"replies": replies, "completions": completions, "reply": replies[0], "scores": [2.07, 7.93, None]}
    run.judged(sample, score=5.0, **said)
    run.plan()
    (shown,) = report_gallery(run.report())["samples"]
    assert shown["reply"] == (
        "Reply 1 of 3, score 2.07:\nScore: 2.070\n\nReply 2 of 3, score 7.93:\nIt fits.\nScore: 7.930\n\n"
        "Reply 3 of 3, without a score:\n–"
    )
    assert "completion" not in shown


def test_names_of_a_dataset_take_one_short_line_of_the_terminal(run):
    for number, category in enumerate(("two\nlines", "turned \N{RIGHT-TO-LEFT OVERRIDE}around", "long " * 60)):
        sample = run.sample(f"s{number}", category)
        run.edited(sample)
        run.judged(sample, score=float(number))
    run.plan()
    console = Console(width=200, record=True)
    report = run.report()
    show_report(console, report, run.dir.root)
    console.print(plan_table(run.dir.read_plan()))
    printed = console.export_text()
    assert printed.count("two lines") == 3  # in both tables, and as the worst
    assert printed.count("turned \N{REPLACEMENT CHARACTER}around") == 2
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in printed and "long " * 12 not in printed
    assert f"best: {('long ' * 12)[:59]}…, worst: two lines" in printed


def test_samples_of_one_source_are_one_cluster(run):
    for number, (source, score) in enumerate([("aa", 2.0), ("aa", 4.0), ("bb", 9.0)]):
        sample = run.sample(f"s{number}", "physical" if number < 2 else "social")
        run.samples[-1] = sample = dataclasses.replace(sample, source_sha256=source * 32)
        run.edited(sample)
        run.judged(sample, score=score)
    run.plan()
    overall = run.report()["overall"]
    # mean 5, residuals -3 -1 4: sums by source -4 and 4, so SE = sqrt(2 / 1 * 32) / 3
    assert (overall["mean"], overall["clusters"]) == (5.0, 2)
    assert overall["standard_error"] == pytest.approx(8 / 3)
    assert overall["interval"] == [0.0, 10.0]  # 5 ± 12.7 * 2.67, cut to the scale
    nothing = {"standard_error": None, "interval": None}
    assert overall["macro"] == {"mean": 6.0, **nothing, "categories": 2, "of_one_source": ["physical", "social"]}
    assert "bootstrap_interval" not in overall
    settings = ReportConfig(bootstrap=True)
    assert build_report(run.dir, "tiny", settings)["overall"]["bootstrap_interval"] == [3.0, 9.0]


def test_failures_stand_beside_the_mean_with_what_they_leave_open(every_state):
    overall = every_state.report()["overall"]
    # scores 8 4 6 (physical) … together 6 scored, 4 failed; 2 of 12 are not done
    total = overall["mean"] * 6
    assert overall["mean_with_failures_as_min"] == pytest.approx(total / 10)
    assert overall["mean_range"] == pytest.approx([total / 10, (total + 40) / 10])
    assert (overall["failed_rate"]["count"], overall["failed_rate"]["of"]) == (4, 10)
    table = rows(to_markdown(every_state.report()).split("## Scores")[1].split("macro")[1], "\n\n")
    assert table[-1][0] == "overall"
    assert table[-1][-2] == "40.0%"


def test_a_run_that_is_not_done_says_so_before_the_numbers(every_state, run):
    report = every_state.report()
    assert report["partial"] == {"missing": 2}
    assert (
        report["notes"][0]
        == "PARTIAL: of 12 samples 1 not edited yet and 1 not judged yet; the numbers are of the others"
    )


def test_scores_that_pile_up_are_told(run):
    for number, score in enumerate([7, 7, 7, 7, 2, 10]):
        sample = run.sample(f"s{number}")
        run.edited(sample)
        run.judged(sample, score=float(score))
    run.plan()
    report = run.report()
    assert report["overall"]["piled_up"] == {"value": 7.0, "share": pytest.approx(4 / 6)}
    assert "67% of 6 are 7 (overall)" in report["notes"][-1]
    assert report["overall"]["histogram"]["counts"] == [0, 0, 1, 0, 0, 0, 0, 4, 0, 1]
    assert "| samples | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 4 | 0 | 1 |" in to_markdown(report)


def test_markdown_lists_every_count(every_state):
    report = every_state.report()
    table = rows(to_markdown(report), "## Samples")
    assert {row[0].replace("\\", "").replace(" ", "_"): int(row[1]) for row in table[2:]} == report["counts"]


def test_the_terminal_table_shows_the_same(every_state, capsys):
    Console(width=160, color_system=None).print(score_table(every_state.report()))
    printed = capsys.readouterr().out
    assert re.search(r"social\s+│\s+6\.000\s+│\s+–\s+│\s+5\.657.*2 of 6", printed)
    assert "6 of 12" in printed


HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "`code`",
    "**bold** _it_ ~~x~~",
    "[link](javascript:x)",
    "![img](http://x/y.png)",
    "two\nlines\r\n| a | b |",
    "&amp; &lt;",
    "\\| \\<b\\>",
    "$x^2$",
    "tab\there",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_ids_and_errors_stay_text_inside_the_table(run, hostile):
    sample = run.sample(f"id {hostile}")
    run.failed_edit(sample, error=f"cause {hostile}")
    run.plan()
    markdown = to_markdown(run.report())
    failed = rows(markdown, "### Failed samples")
    assert len(failed) == 3
    assert len(failed[2]) == 3
    assert failed[2][1] == r"edit\_failed"
    assert "<" not in markdown.replace("&lt;", "")
    assert not re.search(r"(?<!\\)[`~$]", markdown)
    assert not re.search(r"(?<!\\)\]\(", markdown)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain 物理 1.5", "plain 物理 1.5"),
        ("a|b", r"a\|b"),
        ("<b>", r"&lt;b\>"),
        ("&lt;", "&amp;lt;"),
        ("`x`", r"\`x\`"),
        ("a\\b", r"a\\b"),
        ("\\<", r"\\&lt;"),
        ("\\|", r"\\\|"),
        ("a\n\n# b", "a # b"),
        (None, "None"),
        (4.0, "4.0"),
    ],
)
def test_text_is_made_harmless(value, expected):
    assert text(value) == expected


def test_the_console_tells_records_that_were_skipped(every_state, capsys):
    Console(width=200).print(plan_table(every_state.dir.read_plan()))
    show_report(Console(width=200), every_state.report(), every_state.dir.root)
    planned, said = capsys.readouterr().out.split("category", 1)
    assert "1 record skipped" in " ".join(planned.split())
    assert " samples planned, 1 record skipped as broken (report.md)" in said


def test_a_hostile_id_cannot_style_the_terminal_table(run, capsys):
    run.sample("a", category="[bold red]x[/]")
    run.plan()
    Console(width=160, color_system=None).print(score_table(run.report()))
    assert "[bold red]x[/]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failed", "shown", "more"), [(50, 50, None), (51, 50, "… and 1 more."), (270, 50, "… and 220 more.")]
)
def test_markdown_lists_the_first_50_failed_samples(run, failed, shown, more):
    lines = JsonLines(run.dir.edits_index)
    for i in range(failed):
        sample = run.sample(f"s{i:03d}")
        lines.append(
            Edit(sample.sample_id, "physical", "edit_failed", "u", sample_input(sample), 1, error_type="E", error="x")
        )
    lines.close()
    run.plan()
    markdown = to_markdown(run.report())
    assert len(rows(markdown, "### Failed samples")) == 2 + shown
    assert (more in markdown) if more else ("more." not in markdown)


def test_a_long_cause_is_cut_in_markdown_and_whole_in_json(run):
    sample = run.sample("a")
    run.failed_edit(sample, error="x" * 5000)
    run.plan()
    report = run.report()
    assert report["samples"][0]["error"] == "x" * 5000
    assert len(to_markdown(report)) < 3000


def test_a_full_benchmark_of_270_samples(run):
    sizes = {"physical": 50, "environmental": 50, "social": 54, "causal": 58, "referential": 58}
    edits, judgments = JsonLines(run.dir.edits_index), JsonLines(run.dir.judgments_of("tiny"))
    for category, size in sizes.items():
        for i in range(size):
            sample = run.sample(f"{category}-{i}", category)
            edits.append(Edit(sample.sample_id, category, "edited", "u", sample_input(sample), 1, sha256="1" * 64))
            judgments.append(Judgment(sample.sample_id, category, "scored", "u", "1" * 64, score=i % 11))
    edits.close()
    judgments.close()
    run.plan()
    report = run.report()
    assert {name: section["n"] for name, section in report["categories"].items()} == sizes
    assert report["counts"]["scored"] == report["counts"]["planned"] == 270
    write_report(run.dir, report)
    assert len(json.loads((run.dir.root / "report.json").read_bytes())["samples"]) == 270


def test_a_report_needs_no_torch_and_no_model_library():
    code = (
        "import sys, editbench.report, editbench.pictures, editbench.analysis.pixels;"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'accelerate') if m in sys.modules])"
    )
    assert run_python(["-c", code], CHECKOUT).output == "[]\n"


@pytest.mark.parametrize(("sizes", "told"), [((8, 8), False), ((4, 8), True), ((None, 8), False)])
def test_judgments_of_several_batch_sizes_are_told(run, sizes, told):
    for number, size in enumerate(sizes):
        sample = run.sample(f"s{number}")
        run.edited(sample)
        run.judged(sample, score=5.0, batch_size=size)
    run.plan()
    notes = build_report(run.dir, "tiny")["notes"]
    assert any("batches were cut to 4 and 8 samples" in note for note in notes) == told


def test_a_page_holds_its_thumbnails_where_it_is_to_be_a_single_file(every_state):
    report = every_state.report()
    report["samples"][0]["thumbs"] = {"source": "thumbs/a.png", "edited": None}
    (every_state.dir.root / "thumbs").mkdir()
    (every_state.dir.root / "thumbs" / "a.png").write_bytes(b"a picture")
    page = write_report(every_state.dir, report).with_suffix(".html")
    assert "data:image/png;base64,YSBwaWN0dXJl" not in page.read_text(encoding="utf-8")
    write_report(every_state.dir, report, single_file=True)
    assert "data:image/png;base64,YSBwaWN0dXJl" in page.read_text(encoding="utf-8")


def test_the_instruction_in_the_other_language_is_kept_for_people(run):
    run.sample("a")
    run.samples[0] = dataclasses.replace(run.samples[0], extra={"edit_instruction": "加一块饼干", "tags": ["indoor"]})
    run.plan()
    report = run.report()
    assert report["samples"][0]["instruction_in_other_language"] == "加一块饼干"
    assert '"also":"加一块饼干"' in to_html(report)
