"""What a report takes from the run folder where nobody says it: the judge and the metric."""

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from made_run import JUDGE, make_run, write_folder
from rich.console import Console

from editbench import logs, report
from editbench.config.load import load
from editbench.errors import UserError
from editbench.run.folder import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    write_folder(tmp_path / "data", [{"id": name} for name in "ab"])
    return make_run(tmp_path / "run", ["dataset=folder", f"dataset.path={tmp_path / 'data'}"], [4.0, 6.0])


def judged_by_another(run: RunDir, name: str) -> None:
    """A second judge gives the same scores, after the first."""
    shutil.copy(run.judgments_of(JUDGE), run.judgments_of(name))
    run.write_config(load(["editor=fake", "judge=fake", f"judge.name={name}", "run_name=x"]).resolved, name)


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
    assert not run.metric_file.exists()


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


def test_a_metric_stays_with_the_run_until_another_is_told(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    first, said = written(run, "metric=scene_truth", monkeypatch=monkeypatch)
    assert "measured" not in said and yaml.safe_load(run.metric_file.read_text())["metric"]["_target_"]
    measured = run.pictures.read_bytes()
    again, said = written(run, monkeypatch=monkeypatch)
    assert again["samples"] == first["samples"] and run.pictures.read_bytes() == measured and "measured" not in said
    without, said = written(run, "~metric", monkeypatch=monkeypatch)
    assert "edits are measured by no metric, and no longer by KnownTruth as the run was" in said
    assert run.pictures.read_bytes() != measured and without["metrics"] is None
    written(run, monkeypatch=monkeypatch)
    assert yaml.safe_load(run.metric_file.read_text()) == {"metric": None}


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
