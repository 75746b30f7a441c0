"""Rows and results in the forms of other tools, read by those that are here, and held against the forms themselves."""

import csv
import io
import json
import math
import re
import sys

import pytest
import yaml
from made_run import JUDGE
from test_report import Run

from editbench.errors import UserError
from editbench.export import ExportOptions, export
from editbench.exports.hub import eval_results
from editbench.exports.inspect_log import inspect_log
from editbench.exports.lm_eval import lm_eval_files
from editbench.report import build_report
from editbench.run.folder import RunDir
from editbench.trackers.base import scalars_of

RESULTS = [("physical", 8.0), ("physical", 6.0), ("social", 3.0), ("social", "unparsed"), ("social", "edit_failed")]
EXTRA = [{"level": 1}, {"level": 2.5}, {"tags": ["a", "b"]}, {"note": 'two\nlines, "quoted" 物'}, {"big": 2**70}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run by hand with three scores, a reply without one and a failed edit."""
    run = Run(tmp_path_factory.mktemp("exported") / "mine")
    for number, ((category, result), extra) in enumerate(zip(RESULTS, EXTRA, strict=True)):
        sample = run.sample(f"s{number}", category)
        sample.extra.update(extra)
        if result == "edit_failed":
            run.failed_edit(sample)
            continue
        run.edited(sample)
        state, score = ("unparsed", None) if result == "unparsed" else ("scored", result)
        run.judged(sample, state, score, JUDGE, reply="hm" if score is None else f"Score: {score}")
    run.plan()
    run.session("edit", "2026-11-27T10:00:00.000+00:00", 60.0, 5, name="e", checkpoint="owner/editor")
    run.session("score", "2026-11-27T11:00:00.000+00:00", 30.0, 4, name=JUDGE, checkpoint="owner/judge")
    settings = {"seed": 1, "limit": None, "dataset": {"path": "bench/basic edit.json"}, "editor": {"name": "e"}}
    run.dir.write_config(settings)
    return run.dir.root


@pytest.fixture
def do(folder, tmp_path):
    def do(to, name, **options):
        return export(ExportOptions(str(folder), to, tmp_path / name, **options)).path

    return do


@pytest.fixture
def logs(do):
    return do("inspect", "logs").parent


# ---- tables ----


def test_a_csv_file_has_a_row_for_each_sample(do):
    rows = list(csv.DictReader(io.StringIO(do("csv", "rows.csv").read_text(encoding="utf-8"))))
    assert [(row["sample_id"], row["state"], row["score"]) for row in rows] == [
        *(("s0", "scored", "8.0"), ("s1", "scored", "6.0"), ("s2", "scored", "3.0")),
        *(("s3", "unparsed", ""), ("s4", "edit_failed", "")),
    ]
    assert [row["extra_level"] for row in rows] == ["1.0", "2.5", "", "", ""]
    assert json.loads(rows[2]["extra_tags"]) == ["a", "b"]
    assert rows[3]["extra_note"] == EXTRA[3]["note"] and rows[4]["extra_big"] == str(2**70)
    assert rows[3]["judge_reply"] == "hm" and rows[4]["edit_error"] == "no picture"


def test_pandas_reads_both_tables_alike(do):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    one, other = pandas.read_csv(do("csv", "rows.csv")), pandas.read_parquet(do("parquet", "rows.parquet"))
    assert list(one.columns) == list(other.columns)
    for rows in (one, other):
        assert rows.groupby("category").score.mean().to_dict() == {"physical": 7.0, "social": 3.0}
        assert rows.state.value_counts().to_dict() == {"scored": 3, "unparsed": 1, "edit_failed": 1}
        assert rows.extra_note[3] == EXTRA[3]["note"]


def test_parquet_without_pyarrow_is_one_sentence(do, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'needs pyarrow, .*pip install "editbench\[parquet\]", or use to=csv'):
        do("parquet", "rows.parquet")


# ---- lm-evaluation-harness ----


def read_lm_eval(path):
    (results,) = path.glob("results_*.json")
    return json.loads(results.read_text())


def test_lm_eval_has_a_task_for_each_category_and_a_group_of_all(do):
    found = read_lm_eval(do("lm_eval", "lm").parent)
    physical, social = (found["results"][f"editbench_basic_edit_{name}"] for name in ("physical", "social"))
    assert physical["score,none"] == 7.0 and physical["failed_rate,none"] == 0.0
    assert social["score,none"] == 3.0 and social["score_with_failures_as_min,none"] == 1.0
    assert social["failed_rate,none"] == pytest.approx(2 / 3)
    assert social["score_stderr,none"] == "N/A", "one source image alone"
    group = found["groups"]["editbench_basic_edit"]
    assert found["results"]["editbench_basic_edit"] == group
    assert group["score,none"] == pytest.approx(17 / 3)
    assert found["n-samples"]["editbench_basic_edit_social"] == {"original": 3, "effective": 1}
    assert found["group_subtasks"] == {
        "editbench_basic_edit": ["editbench_basic_edit_physical", "editbench_basic_edit_social"]
    }
    assert found["higher_is_better"]["editbench_basic_edit"]["failed_rate"] is False
    assert (found["model_name"], found["model_name_sanitized"]) == ("owner/editor", "owner__editor")
    assert found["date"] == 1795773600.0


def test_categories_of_like_names_are_different_tasks(tmp_path):
    run = Run(tmp_path / "mine")
    for number, category in enumerate(["a-b", "a_b"]):
        run.edited(sample := run.sample(f"s{number}", category))
        run.judged(sample, score=float(number))
    run.plan()
    export(ExportOptions(str(run.dir.root), "lm_eval", tmp_path / "lm"))
    found = read_lm_eval(tmp_path / "lm")
    assert {name: task["score,none"] for name, task in found["results"].items()} == {
        "editbench_dataset": 0.5,
        "editbench_dataset_a_b": 0.0,
        "editbench_dataset_a_b_1": 1.0,
    }
    assert len(list((tmp_path / "lm").glob("samples_*"))) == 2


def test_lm_eval_s_samples_without_a_score_have_none(do):
    folder = do("lm_eval", "lm").parent
    (path,) = folder.glob("samples_editbench_basic_edit_social_*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["doc"]["sample_id"], line["score"], line["resps"]) for line in lines] == [
        ("s2", 3.0, [["Score: 3.0"]]),
        ("s3", None, [["hm"]]),
        ("s4", None, [[""]]),
    ]
    with pytest.raises(UserError, match="is there already"):
        do("lm_eval", "lm")


def test_lm_eval_itself_makes_its_table_of_it(do):
    utils = pytest.importorskip("lm_eval.utils", reason="lm_eval is not installed")
    folder = do("lm_eval", "lm").parent
    names = [str(path) for path in folder.iterdir()]
    (results,) = utils.get_results_filenames(names)
    assert utils.get_latest_filename([results]) == results
    samples = utils.get_sample_results_filenames(names)
    tasks = {utils.get_file_task_name(name.rpartition("/")[2]) for name in samples}
    assert tasks == {"editbench_basic_edit_physical", "editbench_basic_edit_social"}
    table = utils.make_table(read_lm_eval(folder))
    assert "editbench_basic_edit_physical" in table and "7.0000" in table and "N/A" in table


# ---- the hub ----


def test_the_hub_s_entry_says_what_it_rests_on(do):
    path = do("hf", "edit.yaml", dataset_id="owner/bench", task_id="default", source_url="https://example.org/report")
    (entry,) = yaml.safe_load(path.read_text())
    assert entry["dataset"] == {"id": "owner/bench", "task_id": "default"}
    assert entry["value"] == 5.6667
    assert entry["source"] == {"url": "https://example.org/report", "name": "editbench report"}
    assert "3 of 5 samples" in entry["notes"] and "2 without a score" in entry["notes"]
    assert f"judged by {JUDGE} (owner/judge), not by the benchmark's own scorer" in entry["notes"]


def test_huggingface_hub_reads_its_entry(do):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    path = do("hf", "edit.yaml", dataset_id="owner/bench", task_id="default")
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("owner/bench", "default", 5.6667)
    assert entry.source_url is None


def test_the_hub_s_names_are_asked_for_and_not_guessed(do):
    with pytest.raises(UserError, match="needs dataset_id=<owner/name>"):
        do("hf", "edit.yaml", dataset_id="owner/bench")
    with pytest.raises(UserError, match="dataset_id=bench: must be owner/name of a dataset on the hub"):
        do("hf", "edit.yaml", dataset_id="bench", task_id="default")


# ---- inspect_ai ----


def test_inspect_s_log_counts_unscored_samples(logs):
    (path,) = logs.iterdir()
    assert re.fullmatch(r"2026-11-27T10-00-00\+00-00_editbench-basic-edit_[0-9a-f]{22}\.json", path.name)
    log = json.loads(path.read_text())
    assert (log["version"], log["status"], log["eval"]["model"]) == (2, "success", "editbench/owner/editor")
    results = log["results"]
    assert (results["total_samples"], results["completed_samples"]) == (5, 4)
    (score,) = results["scores"]
    assert (score["scored_samples"], score["unscored_samples"]) == (3, 1)
    assert score["metrics"]["mean"]["value"] == pytest.approx(17 / 3)
    s0, *_, s3, s4 = log["samples"]
    assert s0["scores"][JUDGE]["value"] == 8.0
    assert math.isnan(s3["scores"][JUDGE]["value"]) and s3["scores"][JUDGE]["reason"] == "grader_failed"
    assert "scores" not in s4 and s4["error"]["message"] == "edit_failed: ValueError: no picture"


def test_inspect_itself_finds_and_reads_its_log(logs):
    inspect_log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    (info,) = inspect_log.list_eval_logs(str(logs))
    log = inspect_log.read_eval_log(info)
    assert log.status == "success" and len(log.samples) == 5
    assert log.results.scores[0].unscored_samples == 1
    assert math.isnan(log.samples[3].scores[JUDGE].value)
    assert log.samples[4].error.message.startswith("edit_failed")


# ---- the figures of a protocol ----

FIGURE = {"name": "accuracy", "unit": "%", "value": 64.2857, "standard_error": 5.0, "interval": [50.0, 75.0]}
FIGURE |= {"scored": 3, "planned": 5, "categories": 1, "categories_planned": 4, "with_failures_as_min": 40.0}


@pytest.fixture
def official(folder):
    """The report of the run by hand as if a protocol with a scale of its own had judged it."""
    figures = [FIGURE, FIGURE | {"name": "reasoning", "value": None}]
    of_protocol = {"protocol": "rise", "prompts": None, "figures": figures, "published": None}
    return build_report(RunDir(folder), JUDGE) | {"scale": [1, 5], "official": of_protocol}


def test_the_hub_s_value_is_the_headline_of_the_protocol(official):
    (entry,) = yaml.safe_load(eval_results(official, "owner/bench", "default", None))
    assert entry["value"] == 64.2857
    for words in (
        "Protocol rise, with editbench's own prompts",
        "64.29 % rests on 3 of 5 planned samples in 1 of 4 categories. The value is accuracy, 95 % interval 50.000 to",
        "mean score 5.667 from 1 to 5 of 3 of 5 samples",
    ):
        assert words in entry["notes"]
    official["official"]["figures"][0] = FIGURE | {"value": None}
    with pytest.raises(UserError, match="mine: no sample has a score that accuracy is made of"):
        eval_results(official, "owner/bench", "default", None)


@pytest.mark.parametrize("languages", [("cn", "en"), ("en", "cn")])
def test_the_hub_s_value_of_a_run_in_two_languages_is_the_one_that_is_chosen(official, languages):
    values = {"overall_cn": 5.0, "overall_en": 6.0, "other_cn": None, "other_en": 4.0}
    official["official"]["figures"] = [
        FIGURE | {"name": f"{name}_{language}", "language": language, "value": values[f"{name}_{language}"]}
        for language in languages
        for name in ("overall", "other")
    ]
    choices = " or ".join(f"figure=overall_{language}" for language in languages)
    with pytest.raises(UserError, match=f"mine: is in 2 languages, and an entry has one value; give {choices}"):
        eval_results(official, "owner/bench", "default", None)
    for name in ("overall_cn", "overall_en", "other_en"):
        (entry,) = yaml.safe_load(eval_results(official, "owner/bench", "default", None, name))
        assert entry["value"] == values[name] and f"The value is {name}, 95 %" in entry["notes"]
    with pytest.raises(UserError, match="no sample has a score that other_cn is made of"):
        eval_results(official, "owner/bench", "default", None, "other_cn")
    with pytest.raises(UserError, match=r"figure=overall: .* it has overall_"):
        eval_results(official, "owner/bench", "default", None, "overall")


def test_a_figure_of_no_protocol_is_refused(do):
    for to, out, says in (("hf", "x.yaml", "figure=overall: the run's protocol has no"), ("csv", "x.csv", "no effect")):
        given = {"dataset_id": "a/b", "task_id": "c"} if to == "hf" else {}
        with pytest.raises(UserError, match=says):
            do(to, out, figure="overall", **given)


def test_lm_eval_and_inspect_have_the_figures_of_the_protocol_and_its_scale(official):
    found = json.loads(next(text for name, text in lm_eval_files(official).items() if name.startswith("results_")))
    group = found["groups"]["editbench_basic_edit"]
    assert (group["official_accuracy,none"], group["official_accuracy_stderr,none"]) == (64.2857, 5.0)
    assert found["higher_is_better"]["editbench_basic_edit"]["official_accuracy"] and "reasoning" not in str(group)
    metadata = found["configs"]["editbench_basic_edit_physical"]["metadata"]
    assert metadata["scale"] == [1, 5] and metadata["official"] == [FIGURE]
    (text,) = inspect_log(official).values()
    assert json.loads(text)["results"]["scores"][0]["metrics"]["official_accuracy"]["metadata"] == FIGURE


def test_a_tracker_is_told_the_figures_of_the_protocol(official):
    told = {name: value for name, value in scalars_of(official).items() if name.startswith("official/")}
    assert (told["official/accuracy/value"], told["official/accuracy/interval_high"]) == (64.2857, 75.0)
    assert (told["official/accuracy/scored"], told["official/accuracy/planned"]) == (3, 5)
    assert not any("reasoning" in name for name in told)


# ---- what all of them refuse ----


@pytest.mark.parametrize(("to", "name"), [("lm_eval", "x"), ("inspect", "x"), ("hf", "x.yaml")])
def test_a_run_without_a_score_has_no_result(tmp_path, to, name):
    run = Run(tmp_path / "mine")
    run.failed_edit(run.sample("a"))
    sample = run.sample("b")
    run.edited(sample)
    run.plan()
    with pytest.raises(UserError, match="has no judgments; run the score phase"):
        export(ExportOptions(str(run.dir.root), to, tmp_path / name))
    run.judged(sample, "unparsed", reply="hm")
    with pytest.raises(UserError, match="no sample has a score"):
        export(ExportOptions(str(run.dir.root), to, tmp_path / name, dataset_id="a/b" if to == "hf" else None))
    assert not (tmp_path / name).exists()


def test_a_file_that_is_there_is_kept_unless_force_is_given(do, tmp_path):
    (tmp_path / "rows.csv").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        do("csv", "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "mine"
    assert do("csv", "rows.csv", force=True).read_text().startswith("index,sample_id,")
