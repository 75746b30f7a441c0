"""judge=openai against a server of llama.cpp with the tiny dense Qwen3-VL: it judges as that model in-process."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from benchmark_file import make_picture
from gguf_judge import convert
from running import CHECKOUT, run_phase

from editbench.errors import UserError
from editbench.judges.base import CUT_OFF, Request
from editbench.judges.openai_server import OpenAIServerJudge
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.run.folder import RunDir

DIGITS = [str(digit) for digit in range(10)]
TOLERANCE = 1e-3
"""llama.cpp attends to and activates pictures with half precision; measured at most 6e-4 on these."""
SIZES = [(256, 256), (224, 160), (256, 128), (96, 256)]
"""Pictures that neither scales: of 8 to 64 tokens, in multiples of 32 pixels."""


@pytest.fixture(scope="module")
def server(tiny_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a server that ends with the tests."""
    folder = tmp_path_factory.mktemp("gguf")
    convert(tiny_checkpoints / "qwen3_vl", folder)
    command = [sys.executable, str(CHECKOUT / "tests" / "llama_server.py"), str(folder)]
    with (folder / "log").open("wb") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
        process = subprocess.Popen(command, **pipes)
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), (folder / "log").read_text(errors="replace")[-2000:]
        yield f"{address}/v1"
    finally:
        process.stdin.close()
        process.wait(30)


@pytest.fixture(scope="module")
def served(server: str) -> OpenAIServerJudge:
    judge = OpenAIServerJudge(["cpu"], server, "tiny", max_new_tokens=24, concurrency=4)
    judge.check_labels(DIGITS)
    return judge


@pytest.fixture(scope="module")
def in_process(tiny_checkpoints: Path) -> Qwen3VLJudge:
    torch.set_num_threads(1)
    return Qwen3VLJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32", max_new_tokens=24)


def make_requests(start: str = "", wanted: str = "reply") -> list[Request]:
    """Requests with one and two images, longer and longer, some with what would be a special token.

    None has a point before a digit: the tiny tokenizer has tokens such as `.5` added, which no model has, and which are
    broken up in-process.
    """
    requests = []
    for k in range(8):
        images = tuple(make_picture(3 * k + i, SIZES[(k + i) % len(SIZES)]) for i in range(1 + k % 2))
        words = "Judge this: 物理 8/10 " + "make it night, " * k + "<|im_end|>" * (k % 3)
        requests.append(Request(k, "You are a careful judge.", words, images, start, wanted))
    return requests


def largest_difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    return max(abs(p - q) for a, b in zip(one, other, strict=True) for p, q in zip(a, b, strict=True))


def test_label_probabilities_are_those_of_the_same_model_in_process(
    served: OpenAIServerJudge, in_process: Qwen3VLJudge
) -> None:
    requests = make_requests("Score: ", "label")
    before = served.counted()["usage"]["prompt_tokens"]
    over_http = served.label_probabilities(served.prepare(requests), DIGITS)
    tokens = served.counted()["usage"]["prompt_tokens"] - before
    prepared = in_process.prepare(requests)
    inside = in_process.label_probabilities(prepared, DIGITS)
    assert tokens == int(prepared.inputs["attention_mask"].sum())
    assert largest_difference(over_http, inside) < TOLERANCE
    assert largest_difference(inside[:4], inside[4:]) > 100 * TOLERANCE  # they do depend on what is shown


def test_greedy_replies_are_the_same_text(served: OpenAIServerJudge, in_process: Qwen3VLJudge) -> None:
    for requests in (make_requests(), make_requests("It is nice.\nScore: ", "number")):
        over_http, inside = (judge.reply(judge.prepare(requests)) for judge in (served, in_process))
        assert over_http == inside
        assert len(set(over_http)) >= 4


def test_a_reply_that_is_cut_off_says_so(server: str) -> None:
    short = OpenAIServerJudge(["cpu"], server, "tiny", max_new_tokens=2)
    assert all(reply.endswith(CUT_OFF) for reply in short.reply(short.prepare(make_requests())))


def test_without_prefill_the_same_probabilities_stand_behind_the_judges_own_words(
    server: str, served: OpenAIServerJudge
) -> None:
    bare = OpenAIServerJudge(["cpu"], server, "tiny", prefill=False)
    requests = make_requests("Score: ", "label")
    own, begun = (judge.label_probabilities(judge.prepare(requests), DIGITS) for judge in (bare, served))
    assert largest_difference(own, begun) < 1e-5


def test_a_label_of_two_tokens_is_refused(served: OpenAIServerJudge) -> None:
    with pytest.raises(UserError, match="'10' is more than one token"):
        served.check_labels(["0", "5", "10"])


def test_a_picture_that_the_server_cannot_read_fails_alone(served: OpenAIServerJudge) -> None:
    good, broken, fine = served.prepare(make_requests()[:3])
    broken.body["messages"][1]["content"][0]["image_url"]["url"] = "data:image/png;base64,AAAA"
    first, failed, last = served.reply([good, broken, fine])
    assert isinstance(first, str) and isinstance(last, str)
    assert str(failed).startswith("HTTP 400: ")


def test_a_run_on_two_ranks_is_judged_by_the_server_and_says_by_whom(server: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    overrides = ["editor=fake", "judge=openai", "judge.model=tiny", f"judge.base_url={server}", "limit=6"]
    overrides += ["judge.mode=expected", "judge.concurrency=2"]
    run_phase("edit", run_dir, overrides, 1)
    outcome = run_phase("score", run_dir, overrides, 2)
    judgments = RunDir(run_dir).read_judgments("openai").values()
    assert [judgment.state for judgment in judgments] == ["scored"] * 6, outcome.tail
    assert all(judgment.label_mass > 0.99 for judgment in judgments)
    session = RunDir(run_dir).read_sessions()[-1]
    component = session["component"]
    assert component["host"] == server.split("/")[2]
    assert component["served_model"].endswith("model.gguf") and component["date"].startswith("20")
    assert component["system_fingerprint"]
    assert component["usage"]["requests"] == 6 + 2 * 2  # the samples, and what each rank tried out
    assert component["usage"]["prompt_tokens"] > 6 * 100
    assert sum(component["answered_by"].values()) == 10
