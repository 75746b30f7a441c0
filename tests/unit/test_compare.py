"""Comparing runs: what is paired, what is refused, and what is said."""

import base64
import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console
from test_report import Run

from editbench.compare import Options, build_comparison, main
from editbench.errors import UserError
from editbench.results import find_run, only_judge, read_results
from editbench.views.comparison import COLUMNS, comparison_to_markdown, show_comparison, verdict

SETTINGS = {"judge": {"name": "tiny", "mode": "generate", "batch_size": 4}, "rubrics": {"physical": {"title": "t"}}}


def scored(root, scores, sources=None, **settings):
    """A run with a score, None for unparsed, or `failed` per sample; each of its own source."""
    run = Run(root)
    for number, score in enumerate(scores):
        sample = run.sample(f"s{number}", "physical" if number % 2 else "social")
        digest = f"{(sources or range(100))[number]:02x}" * 32
        run.samples[-1] = sample = dataclasses.replace(sample, source_sha256=digest)
        if score == "failed":
            run.failed_edit(sample)
            continue
        run.edited(sample)
        run.judged(sample, "unparsed" if score is None else "scored", score, batch_size=settings.get("batch", 4))
    run.plan()
    run.session("edit", "t1", 1.0, 1)
    run.session("score", "t2", 1.0, 1, fingerprint=settings.get("fingerprint", "f0"))
    configuration = {"seed": 1, "editor": {"name": "e", "steps": settings.get("steps", 4)}}
    judged = {"judge": SETTINGS["judge"] | settings.get("judge", {}), "rubrics": SETTINGS["rubrics"]}
    run.dir.write_config({**configuration, **judged}, "tiny")
    run.dir.write_config({**configuration, **judged})
    return run


@pytest.fixture
def compared(tmp_path):
    base = scored(tmp_path / "base", [2.0, 4.0, 6.0, 8.0, None, 5.0, "failed"])
    other = scored(tmp_path / "other", [3.0, 5.0, 8.0, 8.0, 9.0, None, 7.0, 1.0], steps=8)
    return base, other


def results(*runs):
    return {run.dir.root.name: read_results(run.dir, "tiny") for run in runs}


def test_samples_with_both_scores_are_paired_and_the_others_counted(compared):
    comparison = build_comparison(results(*compared))
    (pair,) = comparison["pairs"]
    assert pair["counts"] == {
        "shared": 7,
        "both_scored": 4,
        "only_in_base": 0,
        "only_in_other": 1,
        "without_score_in_base": 2,
        "without_score_in_other": 1,
    }
    assert (pair["overall"]["n"], pair["overall"]["difference"]) == (4, 1.0)
    # differences 1 1 2 0 (both scored), 9 (base unparsed), -5 (other unparsed), 7 (base failed)
    assert pair["failures_as_min"]["n"] == 7
    assert pair["failures_as_min"]["difference"] == pytest.approx(15 / 7)
    assert [(s["sample_id"], s["difference"]) for s in comparison["samples"]] == [
        *(("s3", 0.0), ("s0", 1.0), ("s1", 1.0), ("s2", 2.0)),
        *(("s4", None), ("s5", None), ("s6", None)),
    ]
    assert comparison["runs"][1]["changed"] == ["editor.steps: 4 -> 8"]
    assert comparison["ranking"] is None


def test_categories_are_corrected_for_their_number(compared):
    (pair,) = build_comparison(results(*compared))["pairs"]
    for category in pair["categories"].values():
        assert category["p_holm"] == min(1.0, 2 * category["p"])


def test_it_is_written_and_printed(compared, tmp_path, capsys, monkeypatch):
    base, other = (str(run.dir.root) for run in compared)
    monkeypatch.chdir(tmp_path)
    main(Options(base, other, out=Path("deep") / "out"))
    written = json.loads((tmp_path / "deep" / "out" / "compare.json").read_text())
    assert written["pairs"][0]["overall"]["difference"] == 1.0
    sentence = verdict(written["pairs"][0])
    assert sentence.startswith("other against base: +1.000 points")
    printed = " ".join(capsys.readouterr().out.split())
    assert sentence in printed and printed.endswith(f"comparison: {tmp_path / 'deep' / 'out' / 'compare.md'}")
    assert "2 shared, without a score in base" in printed
    assert "│ overall │ 3 / 1 / 0 │ – │" in " ".join(printed.split())
    assert "p, Holm: corrected for the number of categories" in printed
    markdown = (tmp_path / "deep" / "out" / "compare.md").read_text()
    assert "| category | base | other | difference | 95 % interval | p | p, Holm |" in markdown
    assert "| overall | 3.500" not in markdown
    assert "| overall | 5.000 | 6.000 | +1.000 |" in markdown


def test_thumbnails_of_the_reports_are_linked_from_where_the_result_lies(compared, tmp_path):
    base, other = compared
    for run in compared:
        run.dir.thumbs.mkdir()
        (run.dir.thumbs / "key-1-111111111111-edited.webp").touch()
    (other.dir.thumbs / f"source-{'01' * 8}.webp").touch()
    main(Options(str(base.dir.root), str(other.dir.root), out=tmp_path / "deep" / "out"))
    samples = json.loads((tmp_path / "deep" / "out" / "compare.json").read_text())["samples"]
    assert {sample["sample_id"]: sample["thumbs"] for sample in samples if sample["thumbs"]} == {
        "s1": {
            "base": "../../base/thumbs/key-1-111111111111-edited.webp",
            "other": "../../other/thumbs/key-1-111111111111-edited.webp",
            "source": f"../../other/thumbs/source-{'01' * 8}.webp",
        }
    }


def test_of_several_sources_all_are_linked_in_order_from_the_run_that_has_most_and_the_reference(compared, tmp_path):
    base, other = compared
    for run, digests in ((base, ["0b"]), (other, ["0a", "0b"])):
        known = {"images_sha256": ["0a" * 32, "0b" * 32], "reference": "wanted.png", "reference_sha256": "0c" * 32}
        run.samples[1] = dataclasses.replace(run.samples[1], **known)
        run.plan()
        run.dir.thumbs.mkdir()
        for digest in digests:
            (run.dir.thumbs / f"source-{digest * 8}.webp").write_bytes(digest.encode())
    (base.dir.thumbs / f"reference-{'0c' * 8}.webp").write_bytes(b"0c")
    main(Options(str(base.dir.root), str(other.dir.root), out=tmp_path / "deep" / "out", single_file=True))
    samples = json.loads((tmp_path / "deep" / "out" / "compare.json").read_text())["samples"]
    (thumbs,) = (sample["thumbs"] for sample in samples if sample["sample_id"] == "s1")
    assert thumbs["source"] == f"../../other/thumbs/source-{'0a' * 8}.webp"
    assert thumbs["more_sources"] == [f"../../other/thumbs/source-{'0b' * 8}.webp"]
    assert thumbs["reference"] == f"../../base/thumbs/reference-{'0c' * 8}.webp"
    page = (tmp_path / "deep" / "out" / "compare.html").read_text()
    assert base64.b64encode(b"0b").decode() in page and base64.b64encode(b"0c").decode() in page


def test_a_single_file_holds_the_thumbnails_itself(compared, tmp_path):
    base, other = compared
    base.dir.thumbs.mkdir()
    (base.dir.thumbs / "key-1-111111111111-edited.webp").write_bytes(b"a picture of one run")
    encoded = base64.b64encode(b"a picture of one run").decode()
    for single in (False, True):
        main(Options(str(base.dir.root), str(other.dir.root), out=tmp_path / "out", single_file=single))
        assert (encoded in (tmp_path / "out" / "compare.html").read_text()) is single


def test_by_default_the_result_lies_beside_the_base(compared):
    base, other = compared
    main(Options(str(base.dir.root), str(other.dir.root)))
    assert (base.dir.root.parent / "compare-base-other" / "compare.md").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"judge": {"mode": "expected"}}, "judge.mode: 'generate' -> 'expected'"),
        ({"fingerprint": "f1"}, "the judge's checkpoint: 'f0' -> 'f1'"),
        ({"sources": [9, 1, 2]}, "the source of 1 samples of the same id (e.g. 's0')"),
    ],
)
def test_more_than_the_editor_may_not_differ(tmp_path, change, words):
    runs = results(scored(tmp_path / "a", [1.0, 2.0, 3.0]), scored(tmp_path / "b", [1.0, 2.0, 3.0], **change))
    with pytest.raises(UserError, match="force=true") as raised:
        build_comparison(runs)
    assert words in str(raised.value)
    forced = build_comparison(runs, force=True)
    assert words in forced["forced"][0]
    assert "Compared by force" in comparison_to_markdown(forced)
    console = Console(record=True, width=200)
    show_comparison(console, forced, tmp_path / "compare.md")
    printed = console.export_text()
    assert f"compared by force, differs: b: {words}" in printed
    assert all(column in printed for column in COLUMNS)


def test_batches_and_names_of_equal_judges_may_differ_and_batches_are_told(tmp_path):
    again = scored(tmp_path / "b", [1.0, 2.0], judge={"batch_size": 8}, batch=8)
    comparison = build_comparison(results(scored(tmp_path / "a", [1.0, 2.0]), again))
    assert "(a: 4; b: 8)" in comparison["notes"][-1]


def test_too_few_source_images_are_called_that_and_nothing_is_said_of_what_would_go_unseen(tmp_path):
    runs = results(
        scored(tmp_path / "a", [2.0, 2.1, 1.9, 2.0, 2.05]), scored(tmp_path / "b", [6.0, 6.1, 6.0, 5.9, 6.0])
    )
    (pair,) = build_comparison(runs)["pairs"]
    assert pair["overall"]["smallest_detectable"] is None
    assert verdict(pair).endswith("; too few source images (5) for this test, whose p is 0.062 at least.")
    assert "cannot be told apart" not in verdict(pair)


def test_three_runs_are_ranked_and_neighbours_that_cannot_be_told_apart_named(tmp_path):
    levels = {"low": 2.0, "high": 7.0, "same": 7.0}
    wobble = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    runs = [
        scored(tmp_path / name, [level + w * (-1) ** (i * (name == "same")) for i, w in enumerate(wobble)])
        for name, level in levels.items()
    ]
    comparison = build_comparison(results(*runs))
    assert [(run["name"], run["ties_with_next"]) for run in comparison["ranking"]] == [
        ("high", True),
        ("same", False),
        ("low", None),
    ]
    assert [(pair["base"], pair["other"]) for pair in comparison["pairs"]] == [
        ("low", "high"),
        ("low", "same"),
        ("high", "same"),
    ]
    assert comparison["pairs"][0]["overall"]["p_holm"] == pytest.approx(3 * 2 / 1024)
    assert "cannot be told from the next" in comparison_to_markdown(comparison)


def test_order_and_test_of_a_ranking_rest_on_the_same_samples(tmp_path):
    """On the five samples that all have scored a is first; on the 35 that a and b have, b is better."""
    scores = {"a": [9.0] * 5 + [2.0] * 30, "b": [7, 7, 7.5, 7, 7, *[6.0] * 30], "c": [1.0] * 5 + [None] * 30}
    comparison = build_comparison(results(*(scored(tmp_path / name, given) for name, given in scores.items())))
    assert comparison["pairs"][0]["overall"]["p_holm"] < 0.01
    first, second, last = comparison["ranking"]
    assert [(run["name"], run["n"], run["ties_with_next"]) for run in comparison["ranking"]] == [
        ("a", 5, True),
        ("b", 5, True),
        ("c", 5, None),
    ]
    assert (first["too_few"], first["opposed"]) == (True, True)
    assert (second["too_few"], second["opposed"], last["too_few"]) == (True, False, False)
    words = comparison_to_markdown(comparison)
    assert "too few source images to tell it from the next; the next one is better on the samples that just" in words


def test_a_run_without_scores_leaves_the_ranking_of_the_others(tmp_path):
    scores = {"a": [1.0 + n / 10 for n in range(8)], "none": [None] * 8, "b": [6.0 + n / 20 for n in range(8)]}
    comparison = build_comparison(results(*(scored(tmp_path / name, given) for name, given in scores.items())))
    assert [(run["name"], run["n"], run["ties_with_next"]) for run in comparison["ranking"]] == [
        ("b", 8, False),
        ("a", 8, None),
        ("none", 0, None),
    ]
    assert "| none | – | 0 | not ranked: without a score |" in comparison_to_markdown(comparison)


def test_what_is_wrong_is_said(compared, tmp_path):
    base, other = compared
    with pytest.raises(UserError, match="give two runs"):
        main(Options(base="x"))
    with pytest.raises(UserError, match="there is no run 'nowhere'"):
        main(Options("nowhere", str(base.dir.root)))
    with pytest.raises(UserError, match="the same run is given twice"):
        main(Options(str(base.dir.root), str(base.dir.root)))
    base.judged(base.samples[0], score=1.0, judge="second")
    with pytest.raises(UserError, match="judgments by second, tiny; choose with judge="):
        main(Options(str(base.dir.root), str(other.dir.root)))
    unjudged = Run(tmp_path / "unjudged")
    unjudged.sample("a")
    unjudged.plan()
    with pytest.raises(UserError, match="has no judgments; run the score phase"):
        only_judge(find_run(str(unjudged.dir.root)))


def test_runs_without_a_common_sample_are_refused(tmp_path):
    other = Run(tmp_path / "b")
    other.judged(other.sample("elsewhere"), score=1.0)
    other.plan()
    with pytest.raises(UserError, match="no sample id in common"):
        build_comparison(results(scored(tmp_path / "a", [1.0]), other), force=True)


def test_an_unfinished_run_is_told_first(tmp_path):
    half = scored(tmp_path / "b", [1.0, 2.0])
    half.sample("later")
    half.plan()
    comparison = build_comparison(results(scored(tmp_path / "a", [1.0, 2.0]), half))
    assert comparison["notes"][0] == "PARTIAL: b: 1 of 3 samples are not edited or not judged yet"
