"""Chat templates that open a block of thinking, on the tiny judge."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_file import make_picture

from editbench.errors import UserError
from editbench.judges.base import Request
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.judges.reply import continuation, parse_score, read_score

OPENS = "{{- '<|im_start|>assistant\\n' }}"
TEMPLATES = {
    "plain": OPENS,
    "always": "{{- '<|im_start|>assistant\\n<think>\\n' }}",
    "asked": OPENS + "{% if enable_thinking is defined and enable_thinking %}{{- '<think>\\n' }}{% endif %}",
    "unless told": OPENS + "{% if enable_thinking is defined and not enable_thinking %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{% else %}{{- '<think>\\n' }}{% endif %}",
    "closes if told": OPENS
    + "{% if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}",
}
CLOSED = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
OPEN = "<|im_start|>assistant\n<think>\n"
NONE = "<|im_start|>assistant\n"


@pytest.fixture
def judge_with(tiny_checkpoints: Path, tmp_path: Path) -> Any:
    def load(template: str, **arguments: Any) -> Qwen3VLJudge:
        torch.set_num_threads(1)
        folder = shutil.copytree(tiny_checkpoints / "qwen3_vl", tmp_path / "judge", dirs_exist_ok=True)
        path = folder / "chat_template.jinja"
        text = (tiny_checkpoints / "qwen3_vl" / "chat_template.jinja").read_text(encoding="utf-8")
        assert text.count(OPENS) == 1
        path.write_text(text.replace(OPENS, TEMPLATES[template]), encoding="utf-8")
        return Qwen3VLJudge(["cpu"], str(folder), dtype="float32", max_new_tokens=16, **arguments)

    return load


REQUEST = Request(0, "You are a judge.", "Judge this.", (make_picture(1, (64, 64)),))


@pytest.mark.parametrize(
    ("template", "thinking", "end"),
    [
        ("plain", None, NONE),
        ("plain", False, NONE),
        ("always", None, OPEN),
        ("always", True, OPEN),
        ("always", False, CLOSED),
        ("asked", None, NONE),
        ("asked", True, OPEN),
        ("asked", False, NONE),
        ("unless told", None, OPEN),
        ("unless told", False, CLOSED),
        ("closes if told", None, NONE),
        ("closes if told", True, NONE),
        ("closes if told", False, CLOSED),
    ],
)
def test_the_prompt_ends_as_the_template_and_the_setting_say(
    judge_with: Any, template: str, thinking: bool | None, end: str
) -> None:
    judge = judge_with(template, thinking=thinking)
    prompt = judge._template.prompt(REQUEST, judge._processor)
    assert prompt.endswith(f"Judge this.<|im_end|>\n{end}")
    label = dataclasses.replace(REQUEST, answer_start="Score: ", wanted="label")
    if end == OPEN:
        with pytest.raises(UserError, match=r"opens a block of thinking.*judge\.thinking=false"):
            judge.check_labels(["1", "2"])
    else:
        judge.check_labels(["1", "2"])
        assert judge._template.prompt(label, judge._processor) == prompt + "Score: "
        assert sum(judge.label_probabilities(judge.prepare([label]), ["1", "2"])[0]) > 0


def test_thinking_cannot_be_wanted_of_a_template_that_knows_none(judge_with: Any) -> None:
    with pytest.raises(UserError, match=r"judge\.thinking=true: .*knows no thinking"):
        judge_with("plain", thinking=True)


def test_thinking_without_its_end_holds_no_answer_and_is_closed_before_the_reply_is_completed(judge_with: Any) -> None:
    judge = judge_with("always")
    (reply,) = judge.reply(judge.prepare([REQUEST]))
    assert reply.startswith("<think>\n") and parse_score(reply.removeprefix("<think>\n")) is not None
    assert parse_score(reply) is None
    again = dataclasses.replace(REQUEST, answer_start=continuation(reply), wanted="number")
    prompt = judge._template.prompt(again, judge._processor)
    assert prompt.count("<think>") == 1 and prompt.endswith("\n</think>\n\nScore: ")
    (completion,) = judge.reply(judge.prepare([again]))
    assert "<think>" not in completion and read_score(reply, completion) is not None
