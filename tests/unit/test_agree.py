"""The command `agree`: from files to figures; runs made by hand; and the table of a published data set."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from test_report import Run

from editbench.agree import AgreeOptions, build_agreement, main
from editbench.errors import UserError
from editbench.ratings.from_run import judge_table, preference_table
from editbench.results import read_results
from editbench.views.agreement import agreement_markdown, show_agreement

CHECKOUT = Path(__file__).resolve().parents[2]
PUBLISHED = Path(os.environ.get("EDITBENCH_VIESCORE", CHECKOUT.parent / "shared/data/viescore_text_guided_ie"))
TABLE = {
    "rater_with_rater": {"sc": 0.512, "pq": 0.570, "overall": 0.506},
    "judge_with_mean": {"sc": 0.454, "pq": 0.544, "overall": 0.419},
}
"""Mean over 8 models (Fisher z) of Spearman's correlation within a model, as its README has it."""


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no {PUBLISHED}; EDITBENCH_VIESCORE=<folder> names another place")
def test_the_published_table_comes_out() -> None:
    judge, human = PUBLISHED / "judge_gpt4o_0shot.csv", PUBLISHED / "human_ratings.csv"
    found = build_agreement(AgreeOptions(human=human, judge=str(judge), overall=["sc", "pq"], resamples=20))
    for relation, row in TABLE.items():
        figures = {name: found["scores"][name]["mean"][relation]["spearman"] for name in row}
        assert {name: round(figure["value"], 3) for name, figure in figures.items()} == row
        assert {figure["averaged"] for figure in figures.values()} == {8}
    assert found["scores"]["sc"]["counts"] == {
        "compared": 1432,
        "clusters": 179,
        "judged_but_not_rated": 0,
        "rated_but_without_score": 179,  # of a ninth model
        "neither": 0,
        "ratings": 4296,
        "ratings_per_item": {"3": 1432},
    }


def scored_run(root, scores):
    run = Run(root)
    for sample_id, score in scores.items():
        sample = run.sample(sample_id)
        run.edited(sample, sha256=f"{sample_id}-of-{root.name}")
        if score is not None:
            run.judged(sample, score=score, image_sha256=f"{sample_id}-of-{root.name}")
        else:
            run.judged(sample, "unparsed", reply="hm", image_sha256=f"{sample_id}-of-{root.name}")
    run.plan()
    return run.dir


@pytest.fixture
def rated_run(tmp_path):
    run_dir = scored_run(tmp_path / "mine", {"a": 1.0, "b": 2.0, "c": 4.0, "d": 3.0, "e": None})
    lines = [f"{s},x,{s}-of-mine,{n}" for s, n in zip("abcde", (0, 3, 9, 7, 5), strict=True)]
    lines.append("a,y,a-of-another,9")
    (tmp_path / "ratings.csv").write_text("\n".join(["sample_id,rater,image_sha256,score", *lines]) + "\n")
    return run_dir, tmp_path / "ratings.csv"


def test_a_run_is_compared_with_the_ratings_of_its_images(rated_run, capsys):
    run_dir, human = rated_run
    main(AgreeOptions(human=human, run=str(run_dir.root), resamples=10))
    printed = capsys.readouterr().out
    found = json.loads((run_dir.root / "agree.json").read_text())
    score = found["scores"]["score"]
    assert score["pooled"]["judge_with_mean"]["spearman"]["value"] == pytest.approx(1.0)
    assert score["counts"]["compared"] == 4 and score["counts"]["rated_but_without_score"] == 1
    assert (found["ratings_of_another_image"], found["clustered_by"], found["raters"]) == (1, "source", ["x"])
    assert found["notes"] == [
        "ratings of another image than the judge's score, left out: 1",
        "score: edits rated, but without a score of the judge, in no figure: 1",
        "score: intervals rest on few clusters (1) and may be too narrow",
    ]
    assert "judge with the raters' mean | 1.000 \\[–\\]" in (run_dir.root / "agree.md").read_text()
    assert "ratings of another image than" in printed


def test_the_command_says_where_it_wrote_by_the_whole_path(rated_run, tmp_path, capsys, monkeypatch):
    run_dir, human = rated_run
    monkeypatch.chdir(tmp_path)
    main(AgreeOptions(human=human, run=str(run_dir.root), resamples=10, out=Path("misspelt") / "out"))
    assert f"agreement: {tmp_path / 'misspelt' / 'out' / 'agree.md'}\n" in capsys.readouterr().out


def test_preferences_between_two_runs_are_the_difference_of_their_scores(tmp_path):
    base = scored_run(tmp_path / "base", {"a": 1.0, "b": 2.0, "c": 4.0, "d": 3.0, "only": 1.0})
    other = scored_run(tmp_path / "other", {"d": 3.0, "c": 1.5, "b": None, "a": 9.0})
    table = preference_table(*(judge_table(read_results(run, "tiny")) for run in (base, other)))
    assert table.columns["sample_id"] == ["d", "c", "b", "a"]
    assert table.columns["preference"] == [0.0, -2.5, None, 8.0]
    head = "sample_id,rater,image_sha256,base_sha256,preference"
    lines = [f"{s},x,{s}-of-other,{s}-of-base,{p}" for s, p in (("a", 1), ("c", -1), ("d", 1), ("b", 0))]
    (tmp_path / "pairs.csv").write_text("\n".join([head, *lines]) + "\n")
    options = AgreeOptions(human=tmp_path / "pairs.csv", run=str(other.root), base=str(base.root), resamples=10)
    found = build_agreement(options)["scores"]["preference"]
    assert found["counts"]["compared"] == 3
    assert found["pooled"]["judge_with_mean"]["same_sign"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give run=<run> or judge=<csv>"),
        ({"judge": "x.csv", "base": "y"}, "base=… needs run=…"),
        ({"run": "nowhere"}, "there is no run 'nowhere'"),
        ({"judge": "nowhere.csv"}, "nowhere.csv cannot be read as CSV (No such file"),
    ],
)
def test_what_cannot_be_compared_is_said(given, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        build_agreement(AgreeOptions(human=Path("h.csv"), **given))
    assert words in str(raised.value)


def test_a_run_with_several_judges_asks_which(tmp_path):
    run = Run(tmp_path / "run")
    sample = run.sample("a")
    run.edited(sample)
    run.judged(sample, score=1, judge="one")
    run.judged(sample, score=2, judge="two")
    run.plan()
    (tmp_path / "h.csv").write_text("sample_id,rater,score\na,x,1\n")
    options = AgreeOptions(human=tmp_path / "h.csv", run=str(tmp_path / "run"), resamples=2)
    assert build_agreement(replace(options, judge="two"))["judge"].endswith("run, judged by two")
    with pytest.raises(UserError, match="has judgments by one, two; choose with judge="):
        build_agreement(options)


def test_hostile_names_stay_text(tmp_path):
    rows = ["model,sample_id,rater,score"]
    rows += [f"[red]m{m}\x1b[31m|<b>,s{s},r,{s}" for m in (1, 2) for s in range(4)]
    for name in ("judge.csv", "human.csv"):
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    found = build_agreement(AgreeOptions(human=tmp_path / "human.csv", judge=str(tmp_path / "judge.csv"), resamples=5))
    console = Console(width=200, record=True)
    show_agreement(console, found, tmp_path / "agree.md")
    shown = console.export_text()
    assert "[red]m1\N{REPLACEMENT CHARACTER}[31m|<b>" in shown and "\x1b" not in shown
    markdown = agreement_markdown(found)
    assert "<b>" not in markdown and "\x1b" not in markdown and "m1" in markdown
