"""What a tracker is told of a report; that none can fail it; and the trackers that are installed, without a network."""

import json
import logging
import sys
from pathlib import Path

import pytest
from made_report import made_report
from test_report import Run

from editbench.config.load import load
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.report import build_report, main, write_report
from editbench.text import _known, learn_secrets
from editbench.trackers.base import FAILURE_COLUMNS, config_of, failures_of, scalars_of
from editbench.trackers.send import send

SECRET = "s3cret-tracker-0123456789"
GROUPS = ("wandb", "trackio", "tensorboard")


@pytest.fixture
def report():
    return made_report(samples=40)


class Recording:
    """A tracker that keeps what it is told, in the order of the calls."""

    said: list

    def __init__(self, fails_in: str = "") -> None:
        Recording.said = []
        self._fails_in = fails_in

    def _told(self, call, *told):
        self.said.append((call, *told))
        if call == self._fails_in:
            raise RuntimeError(f"no answer\nfrom the server, key {SECRET}")

    def start(self, run_name, config):
        self._told("start", run_name, config)

    def log(self, scalars, failures):
        self._told("log", scalars, failures)

    def finish(self, files):
        self._told("finish", files)


def settings(target=f"{__name__}.Recording", **kwargs):
    return ComponentConfig(target, "mine", kwargs)


def test_figures_have_names_and_what_is_not_known_is_left_out(report):
    report["overall"]["interval"] = [5.5, 6.5]
    report["categories"]["social"] |= {"mean": None, "interval": None, "standard_error": None}
    scalars = scalars_of(report)
    assert scalars["overall/mean"] == report["overall"]["mean"]
    assert (scalars["overall/interval_low"], scalars["overall/interval_high"]) == (5.5, 6.5)
    assert scalars["count/planned"] == 40 and scalars["count/unparsed"] == report["counts"]["unparsed"]
    assert scalars["category/physical/n"] == report["categories"]["physical"]["n"]
    assert "category/social/mean" not in scalars and "category/social/interval_low" not in scalars
    assert scalars["overall/macro_mean"] == report["overall"]["macro"]["mean"]
    assert all(isinstance(value, float) for value in scalars.values())


def test_failures_are_rows_with_their_cause(tmp_path):
    run = Run(tmp_path / "mine")
    run.failed_edit(run.sample("a"), error="no picture")
    sample = run.sample("b")
    run.edited(sample)
    run.judged(sample, "unparsed", reply="hm")
    run.edited(done := run.sample("c"))
    run.judged(done, "scored", 5.0)
    run.plan()
    assert failures_of(build_report(run.dir, "tiny")) == [
        ["a", "physical", "edit_failed", "ValueError", "no picture", ""],
        ["b", "physical", "unparsed", "", "", "hm"],
    ]


def test_a_tracker_is_started_told_and_finished(report, tmp_path):
    assert send(settings(), report, [tmp_path / "report.md"])
    assert [call for call, *_ in Recording.said] == ["start", "log", "finish"]
    assert Recording.said[0][1] == "made-up" and Recording.said[0][2]["made_by"]["editor"]["name"] == "qwen_image_edit"
    assert Recording.said[2][1] == [tmp_path / "report.md"]


@pytest.fixture
def known_secret():
    before = list(_known)
    learn_secrets({"api_key": SECRET})
    yield
    _known[:] = before


@pytest.mark.parametrize(("where", "calls"), [("start", 1), ("log", 3), ("finish", 3)])
def test_one_that_fails_is_one_line_of_warning(report, caplog, where, calls, known_secret):
    with caplog.at_level(logging.WARNING):
        assert not send(settings(fails_in=where), report, [])
    (record,) = caplog.records
    assert record.getMessage() == (
        "tracker mine: took no report (RuntimeError: no answer from the server, key <redacted>)"
    )
    assert len(Recording.said) == calls, "what was begun is ended"


def test_one_that_is_not_installed_is_one_line_of_warning(report, caplog, monkeypatch, tmp_path):
    for name in GROUPS:
        monkeypatch.setitem(sys.modules, "tensorboardX" if name == "tensorboard" else name, None)
        chosen = load([f"tracker={name}", f"run_dir={tmp_path}", "run_name=x"]).tracker
        caplog.clear()
        assert not send(chosen, report, [])
        (record,) = caplog.records
        assert record.getMessage().startswith(f"tracker {name}: took no report (")
        assert f'pip install "editbench[{name}]"' in record.getMessage()


def test_no_secret_of_the_settings_is_sent(report):
    report["config"]["editor"] = {"api_token": SECRET, "call": {"password": SECRET}}
    report["editor"]["hf_token"] = SECRET
    assert SECRET not in json.dumps(config_of(report)) and "<redacted " in json.dumps(config_of(report))


def test_by_default_there_is_no_tracker_and_a_wrong_one_is_refused(tmp_path):
    assert load(["run_name=x"]).tracker is None
    with pytest.raises(UserError, match="projekt"):
        load(["run_name=x", "tracker=wandb", "tracker.projekt=a"])
    config = load(["run_name=x", f"run_dir={tmp_path}", "tracker=wandb", "tracker.mode=sometimes"])
    with pytest.raises(UserError, match=r"tracker\.mode='sometimes': must be online or offline or null"):
        main(config)


def test_the_report_phase_sends_what_it_wrote(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "recording_tracker", sys.modules[__name__])
    run = Run(tmp_path / "mine")
    sample = run.sample("a")
    run.edited(sample)
    run.judged(sample, score=4.0)
    run.plan()
    tracker = "+tracker={_target_: recording_tracker.Recording, name: mine}"
    overrides = [f"run_dir={run.dir.root}", "run_name=mine", "judge.name=tiny", "report.pictures=false"]
    main(load([*overrides, tracker]))
    call, scalars, failures = Recording.said[1]
    assert (call, scalars["overall/mean"], failures) == ("log", 4.0, [])
    assert [path.name for path in Recording.said[2][1]] == ["report.json", "report.md", "report.html"]
    assert all(path.exists() for path in Recording.said[2][1])
    assert "tracker mine has the report" in capsys.readouterr().out


# ---- the trackers themselves ----


@pytest.fixture
def sent(report, tmp_path, monkeypatch):
    """Send a report with four failures and its files to a tracker of `conf/`, under a command line with a secret."""

    def sent(name, *overrides):
        report["config"]["editor"] = {"api_token": SECRET}
        monkeypatch.setattr(sys, "argv", [*sys.argv, f"editor.api_token={SECRET}"])
        monkeypatch.setenv("WANDB_MODE", "offline")
        run_dir = Run(tmp_path / "run").dir
        files = [write_report(run_dir, {**report, "config": {}}).with_suffix(end) for end in (".json", ".md")]
        config = load([f"tracker={name}", f"run_dir={run_dir.root}", "run_name=x", *overrides])
        assert send(config.tracker, report, files)
        return run_dir.root

    return sent


def holds(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_tensorboard_reads_figures_settings_failures_and_report(sent, report):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed (editbench[tensorboard])")
    folder = sent("tensorboard") / "tensorboard"
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard, which reads, is not installed"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()
    (point,) = accumulator.Scalars("overall/mean")
    assert point.value == pytest.approx(report["overall"]["mean"], rel=1e-6)
    assert point.step == report["counts"]["scored"]
    assert {"overall/interval_low", "category/physical/mean", "count/unparsed"} <= set(tags["scalars"])
    assert {"config/text_summary", "failures/text_summary", "report/text_summary"} <= set(tags["tensors"])
    assert not holds(folder, SECRET)


def test_wandb_keeps_figures_failures_and_report_for_later(sent):
    pytest.importorskip("wandb", reason="wandb is not installed (editbench[wandb])")
    folder = sent("wandb") / "wandb"
    (run,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert holds(run.parent, "overall/mean") and holds(run.parent, "report-made-up")
    (table,) = run.parent.glob("files/media/table/failures_*.table.json")
    assert json.loads(table.read_text())["columns"] == list(FAILURE_COLUMNS)
    assert not holds(folder, SECRET)


def test_trackio_keeps_figures_failures_and_report_on_this_machine(sent, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio", reason="trackio is not installed (editbench[trackio])")
    sent("trackio", "tracker.project=tested")
    storage = trackio.SQLiteStorage
    (run,) = storage.get_runs("tested")
    (logged,) = storage.get_logs("tested", run)
    assert logged["count/planned"] == 40 and "failures" in logged
    assert holds(tmp_path / "trackio", "report-made-up") and holds(tmp_path / "trackio", "# editbench report: made-up")
    assert not holds(tmp_path / "trackio", SECRET)
