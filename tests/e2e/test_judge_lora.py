"""A LoRA on the tiny judge: put on, scaled, fused, known by its content, the same on any number of processes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_file import make_picture, write_benchmark
from huggingface_hub import constants
from running import run_phase
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from editbench.components.check import check_components
from editbench.components.checkpoint import ADAPTER, find_adapter
from editbench.components.load import find_checkpoint
from editbench.config.load import load
from editbench.errors import UserError
from editbench.judges.base import Request
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.run.identity import component_identity

DIGITS = [str(digit) for digit in range(10)]
REQUESTS = [Request(i, "You are a judge.", f"Judge {i}.", (make_picture(i, (64, 64)),), "Score: ") for i in range(3)]
CONFIG, WEIGHTS = ADAPTER


@pytest.fixture(scope="module")
def adapter(tiny_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as peft saves it, with random weights that are large enough to change words."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoints / "qwen3_vl", dtype=torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def judge(tiny_checkpoints: Path, **lora: Any) -> Qwen3VLJudge:
    torch.set_num_threads(1)
    arguments: dict[str, Any] = {"lora": lora} if lora else {}
    return Qwen3VLJudge(
        ["cpu"],
        str(tiny_checkpoints / "qwen3_vl"),
        dtype="float32",
        max_new_tokens=12,
        max_image_pixels=4096,
        **arguments,
    )


def answers(judge: Qwen3VLJudge) -> tuple[list[str], torch.Tensor]:
    """Its replies, and the probabilities of the digits."""
    labels = [Request(*(r.index, r.system, r.user, r.images, r.answer_start), wanted="label") for r in REQUESTS]
    judge.check_labels(DIGITS)
    return judge.reply(judge.prepare(REQUESTS)), torch.tensor(
        judge.label_probabilities(judge.prepare(labels), DIGITS), dtype=torch.float64
    )


def test_an_adapter_changes_replies_and_probabilities_and_at_scale_0_nothing(
    tiny_checkpoints: Path, adapter: Path
) -> None:
    plain, on, off, half = (
        answers(judge(tiny_checkpoints, **lora))
        for lora in (
            {},
            {"path": str(adapter)},
            {"path": str(adapter), "scale": 0},
            {"path": str(adapter), "scale": 0.5},
        )
    )
    assert on[0] != plain[0] and not torch.allclose(on[1], plain[1], rtol=1e-2)
    assert off[0] == plain[0] and torch.equal(off[1], plain[1])
    assert not torch.allclose(half[1], on[1], rtol=1e-2) and not torch.allclose(half[1], plain[1], rtol=1e-2)


def test_fused_it_says_the_same(tiny_checkpoints: Path, adapter: Path) -> None:
    beside, fused = (answers(judge(tiny_checkpoints, path=str(adapter), fuse=fuse)) for fuse in (False, True))
    assert fused[0] == beside[0] and torch.allclose(fused[1], beside[1], rtol=1e-4)


def test_it_does_what_peft_s_own_model_does(tiny_checkpoints: Path, adapter: Path) -> None:
    from peft import PeftModel

    base = AutoModelForImageTextToText.from_pretrained(tiny_checkpoints / "qwen3_vl", dtype=torch.float32)
    peft_model = PeftModel.from_pretrained(base, str(adapter)).eval()
    ours = judge(tiny_checkpoints, path=str(adapter))
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        assert torch.allclose(ours._model(input_ids=ids).logits, peft_model(input_ids=ids).logits, atol=1e-5)


def change(adapter: Path, folder: Path, what: str) -> Path:
    """A copy of the adapter with something wrong about it."""
    copy = shutil.copytree(adapter, folder / "other")
    weights, settings = load_file(copy / WEIGHTS), json.loads((copy / CONFIG).read_text())
    if what == "names":
        save_file({name.replace("layers", "strata"): tensor for name, tensor in weights.items()}, copy / WEIGHTS)
    elif what == "shapes":
        save_file({name: tensor.repeat(2, 2) for name, tensor in weights.items()}, copy / WEIGHTS)
    elif what == "targets":
        (copy / CONFIG).write_text(json.dumps(settings | {"target_modules": ["nowhere"]}))
    elif what == "one":
        save_file(dict(list(weights.items())[1:]), copy / WEIGHTS)
    return copy


@pytest.mark.parametrize("what", ["names", "shapes", "targets", "one"])
def test_an_adapter_of_another_model_is_one_sentence(
    tiny_checkpoints: Path, adapter: Path, tmp_path: Path, what: str
) -> None:
    folder = change(adapter, tmp_path, what)
    with pytest.raises(UserError, match=r"^judge\.lora\.path=.* cannot be put on Qwen3VL") as caught:
        judge(tiny_checkpoints, path=str(folder))
    assert "\n" not in str(caught.value)


# ---- found, checked, known by its content ----


def cut(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-10])


def without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def as_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def settings_of(text: str) -> Any:
    return lambda folder: (folder / CONFIG).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut, r"adapter_model\.safetensors has \d+ bytes in place of \d+; download or copy it again"),
        (without(WEIGHTS), r"has no file adapter_model\.safetensors, as adapters"),
        (without(CONFIG), r"has no file adapter_config\.json, as adapters"),
        (as_pickle, "its weights are pickled"),
        (settings_of("{"), r"adapter_config\.json cannot be read"),
        (settings_of("[]"), r"adapter_config\.json cannot be read"),
        (settings_of('{"peft_type": "IA3"}'), "of type 'IA3'; only LORA"),
    ],
)
def test_an_adapter_that_is_not_whole_is_found_before_a_model_is_loaded(
    adapter: Path, tmp_path: Path, spoil: Any, says: str
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(UserError, match=rf"^LoRA .*{says}"):
        find_adapter(str(folder), None, download=True)


def test_an_adapter_that_is_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="LoRA /no/where: there is no such folder"):
        find_adapter("/no/where", None, download=True)
    assert find_adapter("somebody/something", None, download=False) is None
    with pytest.raises(UserError, match=r"LoRA somebody/something: .*offline mode is on"):
        find_adapter("somebody/something", None, download=True)


def test_it_counts_by_its_content_and_scale_and_not_by_its_place(
    tiny_checkpoints: Path, adapter: Path, tmp_path: Path
) -> None:
    def identity(*overrides: str) -> str:
        config = load(["judge=tiny", f"judge.checkpoint={tiny_checkpoints / 'qwen3_vl'}", "dataset.path=x", *overrides])
        return json.dumps(component_identity(config.judge, find_checkpoint(config.judge, download=False)))

    copy = shutil.copytree(adapter, tmp_path / "copy")
    here, elsewhere = f"judge.lora={{path: {adapter}}}", f"judge.lora={{path: {copy}}}"
    assert identity(here) == identity(elsewhere) != identity()
    assert identity(f"judge.lora={{path: {adapter}, scale: 0.5}}") != identity(here)
    assert "lora" not in identity(), "judgments without one are known by what they were known by before"
    (copy / CONFIG).write_text((copy / CONFIG).read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert identity(elsewhere) != identity(here)


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ("{}", "judge.lora.path is missing"),
        ("{path: a/b, weight_name: x}", "judge.lora.weight_name: there is no such key; there are path, revision"),
        ("{path: a/b, scale: much}", "judge.lora.scale='much': must be a number"),
        ("a/b", "judge.lora='a/b': must be a mapping with path, revision, scale, fuse or null"),
    ],
)
def test_settings_that_cannot_be_are_named(lora: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        check_components(load(["judge=qwen3_vl", f"judge.lora={lora}", "dataset.path=x"]))
    assert says in str(caught.value)


# ---- a run ----


def test_runs_on_one_and_two_processes_agree_and_the_report_names_the_adapter(
    tiny_checkpoints: Path, adapter: Path, tmp_path: Path
) -> None:
    bench = tmp_path / "bench.json"
    write_benchmark(bench, ["物理", "环境", "物理"])
    settings = [f"dataset.path={bench}", "dataset=json_file", "editor=fake", "judge=tiny", "judge.batch_size=2"]
    settings += [f"judge.checkpoint={tiny_checkpoints / 'qwen3_vl'}", "judge.max_new_tokens=8"]
    settings += ["judge.max_image_pixels=4096", f"judge.lora={{path: {adapter}, scale: 0.7}}"]
    found = []
    for world_size in (1, 2):
        run = tmp_path / f"run-{world_size}"
        for phase in ("edit", "score"):
            run_phase(phase, run, settings, world_size)
        lines = (run / "judgments" / "tiny.jsonl").read_text(encoding="utf-8").splitlines()
        judgments = {judgment["sample_id"]: judgment for judgment in map(json.loads, lines)}
        found.append({name: (one["unit"], one["reply"], one["score"]) for name, one in judgments.items()})
    assert found[0] == found[1] and len(found[0]) == 3
    sessions = (run / "sessions.json").read_text(encoding="utf-8")
    assert str(adapter) in sessions and '"lora_scale": 0.7' in sessions
