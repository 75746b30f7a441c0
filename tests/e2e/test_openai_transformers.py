"""judge=openai against `transformers serve` with the nano judge: it replies as that model in-process.

That server neither goes on with a turn that is begun nor gives probabilities, and says only the first of it.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_file import make_picture
from running import CHECKOUT, run_phase

from editbench.errors import UserError
from editbench.judges.base import CUT_OFF, ImagesStand, Request
from editbench.judges.openai_server import OpenAIServerJudge
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.run.folder import RunDir

MODEL = str(CHECKOUT / "models" / "nano" / "judge")
DIGITS = [str(digit) for digit in range(10)]
SIZES = [(128, 128), (96, 128), (128, 64), (64, 64)]
"""Pictures that neither scales: of at most the 16,384 pixels of conf/judge/nano.yaml, in multiples of 32."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Base URL of a server that ends with the tests."""
    command = [sys.executable, str(CHECKOUT / "tests" / "transformers_server.py"), "serve", MODEL]
    command += ["--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said: list[str] = []
        address = None
        while address is None:
            said.append(process.stdout.readline())
            assert said[-1], f"the server ended: {''.join(said)[-2000:]}"
            address = re.search(r"running on (http://127\.0\.0\.1:\d+)", said[-1])
        threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
        yield f"{address.group(1)}/v1"
    finally:
        process.stdin.close()
        process.wait(30)


def judge(server: str, **settings: Any) -> OpenAIServerJudge:
    known = {"prefill": False, "images": "last", "max_new_tokens": 16, "concurrency": 2}
    return OpenAIServerJudge(["cpu"], server, **{"model": MODEL, **known, **settings})


def make_requests() -> list[Request]:
    """Requests with one and two images, longer and longer, some with what would be a special token."""
    requests = []
    for k in range(8):
        images = tuple(make_picture(3 * k + i, SIZES[(k + i) % len(SIZES)]) for i in range(1 + k % 2))
        words = "Judge this: 物理 8/10 " + "make it night, " * k + "<|im_end|>" * (k % 3)
        requests.append(Request(k, "You are a careful judge.", words, images))
    return requests


@pytest.mark.parametrize("images", ["first", "last"])
def test_greedy_replies_and_tokens_are_those_of_the_same_model_in_process(server: str, images: ImagesStand) -> None:
    torch.set_num_threads(1)
    inside = Qwen3VLJudge(["cpu"], MODEL, dtype="float32", max_new_tokens=16, max_image_pixels=16384, images=images)
    served = judge(server, images=images)
    before = served.counted()["usage"]["prompt_tokens"]
    over_http = served.reply(served.prepare(make_requests()))
    prepared = inside.prepare(make_requests())
    expected = [reply.rstrip() for reply in inside.reply(prepared)]  # one cut off behind a space comes without it
    assert over_http == expected
    assert len(set(over_http)) >= 3
    tokens = served.counted()["usage"]["prompt_tokens"] - before
    assert tokens == int(prepared.inputs["attention_mask"].sum())


def test_a_reply_that_is_cut_off_says_so(server: str) -> None:
    short = judge(server, max_new_tokens=1)
    assert all(reply.endswith(CUT_OFF) for reply in short.reply(short.prepare(make_requests())))


def test_probabilities_that_the_server_passes_over_in_silence_are_missed(server: str) -> None:
    with pytest.raises(UserError, match=r"holds no logprobs; judge\.mode=expected needs them, use"):
        judge(server).check_labels(DIGITS)


def test_a_turn_that_it_cannot_go_on_with_is_refused_with_the_setting_that_helps(server: str) -> None:
    with pytest.raises(UserError, match=r"HTTP 422: .*continue_final_message.*: set judge\.prefill=false"):
        judge(server, prefill=True)


def test_another_model_is_refused_with_the_one_that_it_serves(server: str) -> None:
    with pytest.raises(UserError, match=rf"pinned to '{re.escape(MODEL)}'.*judge\.model"):
        judge(server, model="other")


def test_the_model_with_its_revision_is_the_model_asked_for(server: str, caplog: pytest.LogCaptureFixture) -> None:
    assert judge(server).describe()["served_model"] == f"{MODEL}@main"
    assert "is answered by" not in caplog.text


def test_a_run_is_judged_as_by_the_model_in_process(server: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_phase("edit", run_dir, (common := ["editor=fake", "dataset=scenes", "limit=24"]), 1)
    both = ["judge.complete_replies=false", "judge.compare_with_original=true", "judge.batch_size=4"]
    run_phase("score", run_dir, [*common, "judge=nano", *both], 1)
    over_http = [f"judge.base_url={server}", f"judge.model={MODEL}", "judge.prefill=false", "judge.images=last"]
    run_phase("score", run_dir, [*common, "judge=openai", *both, *over_http, "judge.max_new_tokens=16"], 2)
    inside, served = (RunDir(run_dir).read_judgments(name) for name in ("nano", "openai"))
    assert len(served) == 24
    assert {key: (one.state, one.reply, one.score) for key, one in served.items()} == {
        key: (one.state, one.reply, one.score) for key, one in inside.items()
    }
    assert all(one.state == "scored" for one in served.values())
    assert len({one.score for one in served.values()}) > 1
