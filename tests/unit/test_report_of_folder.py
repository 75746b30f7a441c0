"""What a report takes from the run folder where nobody says it: the judge and the metric."""

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from made_run import JUDGE, make_run, write_folder
from PIL import Image
from rich.console import Console

from editbench import logs, pictures, report
from editbench.config.load import load
from editbench.errors import UserError
from editbench.results import judge_of
from editbench.run.folder import RunDir
from editbench.run.records import Sample

BARE = ("dataset=folder", "dataset.path=x")
"""A dataset that brings no metric."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    write_folder(tmp_path / "data", [{"id": name} for name in "ab"])
    return make_run(tmp_path / "run", ["dataset=folder", f"dataset.path={tmp_path / 'data'}"], [4.0, 6.0])


def judged_by_another(run: RunDir, name: str) -> None:
    """A second judge gives the same scores, after the first."""
    shutil.copy(run.judgments_of(JUDGE), run.judgments_of(name))
    run.write_config(load(["editor=fake", "judge=fake", f"judge.name={name}", "run_name=x"]).resolved, name)


def experiments(folder: Path, **texts: str) -> str:
    """A folder of the user's own with an experiment of each name."""
    (folder / "conf" / "experiment").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "conf" / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    return str(folder / "conf")


def written(run: RunDir, *overrides: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, str]:
    """Run the command; returns report.json and what is on the console."""
    console = Console(file=io.StringIO(), width=400)
    monkeypatch.setattr(logs, "console", lambda: console)
    report.main(load([f"run_dir={run.root}", *overrides]))
    return json.loads((run.root / "report.json").read_text()), console.file.getvalue()


def test_the_run_folder_alone_is_enough(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = written(run, monkeypatch=monkeypatch)
    assert (found["overall"]["mean"], found["metrics"]) == (5.0, None)
    assert [sample["pixels"] is not None for sample in found["samples"]] == [True, True]
    assert "judged last" not in said and "measured by" not in said


def test_of_several_judges_the_last_one_counts_and_the_others_are_named(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by_another(run, "lenient")
    found, said = written(run, monkeypatch=monkeypatch)
    assert "judged by lenient, which judged last; judge=… gives the report of strict" in said
    judged_by_another(run, "third")
    other, said = written(run, "judge=fake", f"judge.name={JUDGE}", monkeypatch=monkeypatch)
    assert "judged last" not in said and other["overall"] == found["overall"]
    config = run.read_config()
    run.config_file.write_text(yaml.safe_dump({key: value for key, value in config.items() if key != "judge"}))
    with pytest.raises(UserError, match=r"has judgments by lenient, strict, third; choose with judge="):
        written(run, monkeypatch=monkeypatch)


def test_a_judge_that_is_asked_for_and_has_not_judged_is_refused(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("judge=qwen3_vl", "judge.name=nano"):
        with pytest.raises(UserError, match=r"has no judgments by '\w+', only by strict"):
            written(run, asked, monkeypatch=monkeypatch)


@pytest.mark.parametrize("setting", ["judge.batch_size=2", "judge.mode=generate", "experiment=own_metric"])
def test_a_setting_of_the_judge_chooses_none(
    run: RunDir, tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = load([f"run_dir={run.root}", setting], experiments(tmp_path, own_metric="metric: null"))
    assert judge_of(asked, run) == (JUDGE, "")
    assert judge_of(load([f"run_dir={run.root}", "experiment=full_270"]), run) == ("qwen3_vl", "")


def test_a_config_without_a_judge_names_none(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.config_file.write_text(yaml.safe_dump(run.read_config() | {"judge": "x"}))
    found, _ = written(run, monkeypatch=monkeypatch)
    assert found["judge"] is None and found["overall"]["mean"] == 5.0  # no session is on record


class Constant:
    """Finds the same in every picture."""

    def __init__(self, value: float = 7.0, broken: bool = False) -> None:
        if broken:
            raise OSError("no such model")
        self._value = value

    def measure(self, sample: Sample, source: Image.Image, edited: Image.Image) -> dict[str, float | None]:
        return {"constant": self._value}


OWN = ("+metric._target_=test_report_of_folder.Constant",)


def lines_of(run: RunDir) -> list[dict]:
    return [json.loads(line) for line in run.pictures.read_text().splitlines()]


def of_metric(report: dict) -> float | None:
    return report["metrics"]["figures"]["constant"]["mean"] if report["metrics"] else None


def test_a_metric_is_of_the_report_that_names_it_and_measures_once(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking again costs nothing, whatever stands between."""
    looked: list[str] = []
    real = pictures.look_at_batch
    monkeypatch.setattr(
        pictures,
        "look_at_batch",
        lambda place, batch: looked.extend(task.sample.sample_id for task in batch) or real(place, batch),
    )
    config = run.config_file.read_bytes()
    for named, value, looks in ((OWN, 7.0, 2), ((), None, 4), (OWN, 7.0, 4), ((*OWN, "+metric.value=8"), 8.0, 6)):
        found, said = written(run, *BARE, *named, monkeypatch=monkeypatch)
        assert (of_metric(found), len(looked)) == (value, looks) and "measured" not in said
    assert len(lines_of(run)) == 6
    assert run.config_file.read_bytes() == config and not (run.root / "metric.yaml").exists()


def test_a_metric_that_fails_its_check_is_refused_and_the_next_report_is_as_before(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = written(run, monkeypatch=monkeypatch)
    for named, says in (
        (
            ("metric=scene_truth", "metric.records=/nonexistent.json"),
            "metric.records=/nonexistent.json: cannot be read",
        ),
        (("metric.records=/nonexistent.json",), "metric.records=/nonexistent.json: cannot be read"),
        ((*BARE, "+metric._target_=mine.Metric"), "metric._target_=mine.Metric: there is no such class"),
        ((*BARE, *OWN, "+metric.broken=true"), r"Constant: cannot be opened \(OSError: no such model\)"),
    ):
        with pytest.raises(UserError, match=says):
            written(run, *named, monkeypatch=monkeypatch)
        after, _ = written(run, monkeypatch=monkeypatch)
        assert after["samples"] == before["samples"] and after["notes"] == before["notes"]


def test_a_metric_of_the_folder_that_cannot_be_opened_here_is_a_note(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, own = run.read_config(), "test_report_of_folder.Constant"
    for metric, says in (
        ({"_target_": "mine.Metric"}, "metric._target_=mine.Metric: there is no such class"),
        ({"_target_": own, "broken": True}, "cannot be opened (OSError: no such model)"),
        ({"_target_": "editbench.analysis.known_truth.KnownTruth", "records": "/other/r.json"}, "cannot be read"),
        ("x", "metric='x': must be a group of settings"),
    ):
        run.config_file.write_text(yaml.safe_dump(config | {"metric": metric}))
        found, _ = written(run, monkeypatch=monkeypatch)
        (note,) = (note for note in found["notes"] if note.startswith("metric: "))
        assert "the run's metric cannot be had here" in note and says in note and "metric=…" in note
        assert found["metrics"] is None and all(sample["pixels"] for sample in found["samples"])
        named, _ = written(run, *BARE, *OWN, monkeypatch=monkeypatch)
        assert of_metric(named) == 7.0 and not any(note.startswith("metric: ") for note in named["notes"])
        without, _ = written(run, "~metric", monkeypatch=monkeypatch)
        assert without["metrics"] is None and not any(note.startswith("metric: ") for note in without["notes"])


def test_what_was_measured_before_needs_no_metric_that_opens(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on another machine has its figures with it."""
    run.config_file.write_text(
        yaml.safe_dump(run.read_config() | {"metric": {"_target_": "test_report_of_folder.Constant", "value": 5.0}})
    )
    assert of_metric(written(run, monkeypatch=monkeypatch)[0]) == 5.0

    def cannot(*_: object, **__: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(Constant, "__init__", cannot)
    monkeypatch.setattr("editbench.components.check.check_arguments", lambda *_: None)  # those of `cannot`
    for path in run.thumbs.iterdir():
        path.unlink()
    found, _ = written(run, monkeypatch=monkeypatch)
    assert of_metric(found) == 5.0 and not any("metric" in note for note in found["notes"])
    assert len(list(run.thumbs.iterdir())) == 4


def test_a_metric_counts_by_an_experiment_only_where_its_yaml_sets_one(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = written(run, "experiment=full_270", f"judge.name={JUDGE}", monkeypatch=monkeypatch)
    assert found["metrics"] is None and {line["version"] for line in lines_of(run)} == {pictures.VERSION}
    own = "test_report_of_folder.Constant"
    folder = experiments(
        tmp_path,
        inside=f"metric: {{_target_: {own}}}",
        outside="defaults: [{override /metric: scene_truth}]",
        judge=f"defaults: [{{override /judge: fake}}]\njudge: {{name: {JUDGE}}}",
        neither="judge: {batch_size: 2}",
    )
    for name, wanted in (
        ("inside", {"metric"}),
        ("outside", {"metric"}),
        ("judge", {"judge"}),
        ("neither", set()),
        ("[neither,outside]", {"metric"}),
    ):
        assert load(["run_name=x", *BARE, f"experiment={name}"], folder).chosen == wanted
        searched = f'hydra.searchpath=["file://{folder}"]'
        assert load(["run_name=x", *BARE, f"experiment={name}", searched]).chosen == wanted


def test_a_misspelt_run_is_one_sentence_with_a_metric_too(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ((), ("metric=scene_truth",)):
        with pytest.raises(UserError, match=r"nope: there is no run here \(no plan\.json\)"):
            written(RunDir(run.root.parent / "nope"), *named, monkeypatch=monkeypatch)


def test_the_metric_of_the_edit_phase_is_that_of_the_run(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run.read_config()
    metric = load(["metric=scene_truth", "editor=fake", "judge=fake", "run_name=x"]).resolved["metric"]
    run.config_file.write_text(yaml.safe_dump(config | {"metric": metric}))
    asked = {}
    monkeypatch.setattr(report, "look_at", lambda _, config: asked.update(metric=config.metric) or report.Looks())
    written(run, "dataset=folder", "dataset.path=elsewhere", monkeypatch=monkeypatch)
    assert asked["metric"].target.endswith("KnownTruth")
    run.config_file.write_text(yaml.safe_dump(config))
    written(run, "dataset=folder", "dataset.path=elsewhere", monkeypatch=monkeypatch)
    assert asked["metric"] is None
