"""The judge on vLLM's engine, with a stand-in for the engine that computes with the tiny checkpoint."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import vllm_stand_in
from benchmark_file import make_picture

from editbench.components.check import check_components
from editbench.config.load import load
from editbench.errors import UserError
from editbench.judges.base import CUT_OFF, Request
from editbench.judges.halving import ask
from editbench.judges.qwen3_vl import NUMBER_TOKENS, Qwen3VLJudge
from editbench.judges.vllm_engine import VLLMJudge

DIGITS = [str(digit) for digit in range(10)]
PICTURES = [(make_picture(i, (64, 64)),) for i in range(2)] + [(make_picture(2, (96, 64)), make_picture(3, (64, 96)))]


def requests(**more: Any) -> list[Request]:
    return [Request(i, "You are a judge.", f"Judge <|im_end|> {i}.", shown, **more) for i, shown in enumerate(PICTURES)]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[vllm_stand_in.LLM]:
    for name, module in vllm_stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    torch.set_num_threads(1)
    return vllm_stand_in.LLM


def judge(tiny_checkpoints: Path, cls: Any = VLLMJudge, **arguments: Any) -> Any:
    device = "cuda:0" if cls is VLLMJudge else "cpu"
    settings = {"dtype": "float32", "max_new_tokens": 12, "max_image_pixels": 4096} | arguments
    return cls([device], str(tiny_checkpoints / "qwen3_vl"), **settings)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("images", ["first", "last"])
def test_it_replies_and_expects_what_the_judge_of_transformers_does(tiny_checkpoints: Path, images: str) -> None:
    one, other = (judge(tiny_checkpoints, cls, images=images) for cls in (VLLMJudge, Qwen3VLJudge))
    assert one.reply(one.prepare(requests())) == other.reply(other.prepare(requests()))
    more = requests(answer_start="I would say\nScore: ", wanted="number")
    assert one.reply(one.prepare(more)) == other.reply(other.prepare(more))


@pytest.mark.usefixtures("stand_in")
def test_probabilities_of_labels_are_those_of_the_judge_of_transformers(tiny_checkpoints: Path) -> None:
    one, other = judge(tiny_checkpoints, top_logprobs=400), judge(tiny_checkpoints, Qwen3VLJudge)
    asked = requests(answer_start="Score: ", wanted="label")
    found = []
    for each in (one, other):
        each.check_labels(DIGITS)
        found.append(torch.tensor(each.label_probabilities(each.prepare(asked), DIGITS), dtype=torch.float64))
    assert torch.allclose(*found, rtol=1e-3, atol=1e-9) and float(found[0].min()) > 0
    assert one.counted() == {"usage": {"labels_missing_from_top_logprobs": 0}}


def test_a_label_beyond_the_likeliest_tokens_counts_as_0_and_is_counted(
    tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM]
) -> None:
    one = judge(tiny_checkpoints, top_logprobs=1)
    probabilities = one.label_probabilities(one.prepare(requests(answer_start="Score: ", wanted="label")), DIGITS)
    missing = sum(probability == 0 for of_one in probabilities for probability in of_one)
    assert missing >= 27 and one.counted() == {"usage": {"labels_missing_from_top_logprobs": missing}}
    (how, _), *_ = stand_in.started[0].calls
    assert {(one.temperature, one.max_tokens, one.logprobs, one.allowed_token_ids) for one in how} == {
        (0.0, 1, 1, None)
    }


def test_seeds_draw_each_reply_and_greedy_replies_have_none(
    tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM]
) -> None:
    one = judge(tiny_checkpoints, temperature=0.7)
    prepared = one.prepare(requests())
    drawn = one.reply(prepared, [5, 6, 7])
    assert drawn == one.reply(prepared, [5, 6, 7]) != one.reply(prepared, [8, 9, 10])
    one.reply(prepared)
    one.reply(one.prepare(requests(wanted="number")))
    calls = [[(how.temperature, how.seed, how.max_tokens) for how in call] for call, _ in stand_in.started[0].calls]
    assert calls[0] == [(0.7, seed, 12) for seed in (5, 6, 7)]
    assert calls[-2:] == [[(0.0, None, 12)] * 3, [(0.0, None, NUMBER_TOKENS)] * 3]
    assert all(reply.endswith(CUT_OFF) for reply in one.reply(prepared) if len(reply) > 200)


def test_the_engine_is_started_as_documented_on_its_own_gpus_and_outside_of_torchrun(
    tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "GROUP_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    before = dict(os.environ)
    VLLMJudge(["cuda:2", "cuda:3"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32", engine={"max_num_seqs": 4})
    (engine,) = stand_in.started
    assert engine.environment["CUDA_VISIBLE_DEVICES"] == "6,7" and dict(os.environ) == before
    assert engine.environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert not [name for name in engine.environment if name.startswith(("TORCHELASTIC", "GROUP_", "RANK", "WORLD"))]
    assert engine.arguments == {
        "load_format": "safetensors",
        "dtype": "float32",
        "seed": 0,
        "tensor_parallel_size": 2,
        "max_model_len": 32768,
        "limit_mm_per_prompt": {"image": 8, "video": 0},
        "max_logprobs": 20,
        "logprobs_mode": "raw_logprobs",
        "max_num_seqs": 4,
    }


def test_without_visible_devices_gpus_go_by_their_numbers(
    tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    VLLMJudge(["cuda:1"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32")
    assert stand_in.started[0].environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_an_adapter_goes_with_every_request(
    tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoints / "qwen3_vl", dtype=torch.float32)
    get_peft_model(model, LoraConfig(r=12, target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(
        tmp_path
    )
    one, other = (judge(tiny_checkpoints, cls, lora={"path": str(tmp_path)}) for cls in (VLLMJudge, Qwen3VLJudge))
    assert one.reply(one.prepare(requests())) == other.reply(other.prepare(requests()))
    (engine,) = stand_in.started
    assert (engine.arguments["enable_lora"], engine.arguments["max_lora_rank"]) == (True, 16)
    assert [lora for _, lora in engine.calls] == [vllm_stand_in.LoRARequest("judge", 1, str(tmp_path))]


def test_too_many_images_fail_their_sample_alone(tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM]) -> None:
    one = judge(tiny_checkpoints, max_images=1)
    first, second, third = ask(requests(), one.prepare, one.reply)
    assert isinstance(first, str) and isinstance(second, str)
    assert str(third) == "a request has 2 images, more than judge.max_images=1"


def test_an_engine_that_has_ended_ends_the_phase(tiny_checkpoints: Path, stand_in: type[vllm_stand_in.LLM]) -> None:
    one = judge(tiny_checkpoints)
    stand_in.started[0].dead = True
    with pytest.raises(UserError, match="judge=vllm: the engine has ended"):
        ask(requests(), one.prepare, one.reply)


@pytest.mark.usefixtures("stand_in")
def test_an_engine_that_does_not_start_is_one_sentence(tiny_checkpoints: Path) -> None:
    with pytest.raises(UserError, match=r"the engine does not start: EngineArgs.* unexpected keyword argument 'speed'"):
        judge(tiny_checkpoints, engine={"speed": 2})
    with pytest.raises(UserError, match="judge=vllm works on GPUs, and this process has cpu"):
        VLLMJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"))


def test_without_the_package_it_says_so(tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r'judge=vllm needs the package vllm.*pip install "editbench\[vllm\]"'):
        judge(tiny_checkpoints)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("judge.engine={seed: 3}", "judge.engine.seed: is set by settings of its own"),
        ("judge.lora={path: a/b, scale: 0.5}", "vLLM takes an adapter as it is"),
        ("judge.gpu_memory_utilization=1.2", "judge.gpu_memory_utilization=1.2: must be a share"),
    ],
)
def test_settings_that_cannot_be_are_named(override: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        check_components(load(["judge=vllm", override, "dataset.path=x"]))
    assert says in str(caught.value)
