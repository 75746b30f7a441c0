"""`rate` and `agree` on real runs: ratings by the page that the command serves, Ctrl-C ends it, agree reads them."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from benchmark_file import write_benchmark
from running import CHECKOUT, run_python

RATE = [sys.executable, "-u", "-m", "editbench.rate"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `old` and `new` of one dataset."""
    folder = tmp_path_factory.mktemp("rating")
    write_benchmark(folder / "bench.json", ["物理", "环境", "社会", "因果"])
    for name, seed in (("old", 1), ("new", 2)):
        settings = [f"run_dir={name}", f"seed={seed}", "editor=fake", "judge=fake", "dataset.path=bench.json"]
        for phase in ("edit", "score"):
            outcome = run_python(["-m", f"editbench.{phase}", *settings], folder)
            assert outcome.code == 0, outcome.tail
    return folder


def rate_until_interrupted(folder: Path, options: list[str], answers: list[object]) -> str:
    """Answer the questions that come, then interrupt; returns what the command printed."""
    process = subprocess.Popen(
        [*RATE, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who starts the tests may ignore it
    )
    try:
        printed = ""
        while not (found := re.search(r"http\S+", printed)):
            line = process.stdout.readline()
            assert line, printed
            printed += line
        with urllib.request.urlopen(found[0] + "state") as response:
            state = json.load(response)
        for answer in answers:
            asked = state["question"]
            for place in asked["images"]:
                with urllib.request.urlopen(f"{found[0]}image/{asked['number']}/{place}") as response:
                    assert response.read().startswith(b"\x89PNG")
            body = json.dumps({"number": asked["number"], "answer": answer}).encode()
            headers = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(found[0] + "answer", body, headers)) as response:
                state = json.load(response)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, printed + rest
    return printed + rest


def test_a_run_of_another_version_can_be_rated(runs: Path) -> None:
    of_another = yaml.safe_load((runs / "old" / "config.yaml").read_text())
    del of_another["log_level"], of_another["source"]["max_mib"]
    (runs / "old" / "config.yaml").write_text(yaml.safe_dump(of_another | {"setting_of_old": {"a": 1}}))
    printed = rate_until_interrupted(runs, ["run=old", "rater=ann", "samples=2"], [5])
    assert f"1 of 2 rated: {runs / 'old' / 'ratings.csv'}" in printed


def test_single_edits_are_rated_in_two_sittings_and_compared(runs: Path) -> None:
    printed = rate_until_interrupted(runs, ["run=new", "rater=ann"], [3, 9])
    file = runs / "new" / "ratings.csv"
    assert f"0 of 4 rated by ann in {file}" in printed and f"2 of 4 rated: {file}" in printed
    assert "2 of 4 rated by ann" in rate_until_interrupted(runs, ["run=new", "rater=ann"], [10, 0])
    outcome = run_python(["-m", "editbench.agree", "run=new", "human=new/ratings.csv", "resamples=50"], runs)
    assert outcome.code == 0 and "judge with the raters' mean" in outcome.output, outcome.tail
    agreement = json.loads((runs / "new" / "agree.json").read_text())
    assert agreement["scores"]["score"]["counts"]["compared"] == 4
    assert agreement["scores"]["score"]["pooled"]["judge_with_mean"]["spearman"]["interval"] is not None


def test_blind_pairs_are_rated_and_compared(runs: Path) -> None:
    rate_until_interrupted(runs, ["base=old", "other=new", "rater=ann"], ["left", "right", "tie", "left"])
    files = ["run=new", "base=old", "human=new/preferences.csv", "resamples=50", "out=pairs"]
    outcome = run_python(["-m", "editbench.agree", *files], runs)
    assert outcome.code == 0 and "same choice" in outcome.output, outcome.tail
    assert json.loads((runs / "pairs" / "agree.json").read_text())["scores"]["preference"]["counts"]["compared"] == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "rater has no value; give it as rater=…"),
        (["rater=ann"], "give either run=<run> or base=<run> other=<run>"),
        (["rater=ann", "run=new", "base=old"], "give either run="),
        (["rater=ann", "base=old"], "needs both base=<run> and other=<run>"),
        (["rater= ", "run=new"], "is no name"),
        (["rater=ann", "run=nowhere"], "there is no run 'nowhere'"),
        (["rater=ann", "run=new", "port=99999"], "must be a whole number from 0 to 65535"),
    ],
)
def test_what_cannot_be_rated_is_said(runs: Path, options: list[str], words: str) -> None:
    outcome = run_python(["-m", "editbench.rate", *options], runs)
    assert outcome.code == 2 and words in outcome.errors[0], outcome.tail
