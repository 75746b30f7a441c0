"""The harness of scripts/bench.py: its arithmetic on hand-computed values, and a quick run of its cheap parts."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

from bench import gpu, gpu_card, gpu_floors, gpu_judges, measure, stand_ins  # noqa: E402
from bench.running import Settings  # noqa: E402


def test_spread_and_ratios():
    assert measure.spread([3.0, 1.0, 2.0]) == measure.Spread(2.0, 1.0, 3.0)
    assert measure.ratios([6.0, 3.0], [2.0, 3.0]) == [3.0, 1.0]
    assert str(measure.spread([0.12345])) == "0.123"


def test_a_row_is_reached_by_its_median():
    row = measure.row("a", "b", [0.98, 0.5, 0.97], measure.at_least(0.97))
    assert (row.reached, row.reach) == (True, ">= 0.97")
    assert measure.row("a", "b", [1.2, 1.31, 1.4], measure.at_most(1.3)).reached is False
    assert measure.row("a", "b", [1.0]).reached is None


@pytest.mark.parametrize(
    ("durations", "ranks", "bound"), [([1.0, 1.0, 1.0, 1.0], 2, 2.0), ([5.0, 1.0, 1.0], 3, 5.0), ([4.0], 6, 4.0)]
)
def test_lower_bound(durations, ranks, bound):
    assert measure.lower_bound(durations, ranks) == bound


def test_sides_alternate():
    order = []
    results = measure.alternate({"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2}, 2)
    assert order == ["a", "b", "a", "b"]
    assert results == {"a": [1, 1], "b": [2, 2]}


def test_durations_come_from_the_seed_and_have_the_mean():
    drawn = [stand_ins.duration(0.3, 0.6, seed) for seed in range(4000)]
    assert drawn[7] == stand_ins.duration(0.3, 0.6, 7)
    assert sum(drawn) / len(drawn) == pytest.approx(0.3, rel=0.05)
    assert stand_ins.duration(0.3, 0.0, 7) == 0.3


def test_flops_of_a_small_pass():
    # 3 tokens, dim 2, 1 layer: 12 * 2**2 = 48 weights a token, 2 * 48 * 3 = 288; attention 4 * 3**2 * 2 = 72
    assert gpu_floors.pass_flops(gpu_floors.Pass(1, 2, 1), dim=2, layers=1) == 360
    assert gpu_floors.pass_flops(gpu_floors.Pass(2, 2, 1), dim=2, layers=1) == 720


@pytest.mark.parametrize(("text_tokens", "tflop"), [(1386, 197.7), (218, 166.3)])
def test_flops_of_qwen_image_edit(text_tokens, tflop):
    """60 layers of 24 heads of 128; 1024 x 1024 pixels are 4096 tokens, twice: the noise and one source."""
    flops = gpu_floors.pass_flops(gpu_floors.Pass(1, 8192, text_tokens), dim=3072, layers=60)
    assert flops == pytest.approx(tflop * 1e12, rel=1e-3)


def small_judge(**experts):
    text = {"hidden_size": 4, "head_dim": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10}
    text |= {"num_hidden_layers": 3, "intermediate_size": 8, "num_experts": 0} | experts
    vision = {"hidden_size": 2, "intermediate_size": 6, "depth": 1, "spatial_merge_size": 2, "out_hidden_size": 4}
    vision |= {"deepstack_visual_indexes": [0]}
    return SimpleNamespace(text_config=SimpleNamespace(**text), vision_config=SimpleNamespace(**vision))


def test_flops_of_a_small_prompt():
    # text: 3 layers of 2 * 4 * 2 * 3 + 3 * 4 * 8 = 144 weights, 2 new tokens: 1728; 2 * (1 + 2 / 2) = 4 pairs, 192 FLOP
    # image: 4 patches * 2 * (16 + 24) + 4 * 4**2 * 2 = 448; 2 mergers of 2 * 1 * (8 * 8 + 8 * 4) = 384; logits 80
    found = gpu_floors.prompt_flops(small_judge(), gpu_floors.Prompt(tokens=3, shared=1, patches=4))
    assert found == 1728 + 192 + 448 + 384 + 80


def test_bytes_of_a_step_count_the_experts_that_a_batch_meets():
    assert gpu_floors.step_bytes(small_judge(), batch=7) == 2 * (3 * 144 + 40)
    judge = small_judge(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8)
    # one token meets 2 of 4 experts of 96 weights, two tokens 4 * (1 - 0.5**2) = 3
    assert gpu_floors.step_bytes(judge, batch=1) == 2 * (3 * (48 + 2 * 96) + 40)
    assert gpu_floors.step_bytes(judge, batch=2) == 2 * (3 * (48 + 3 * 96) + 40)


def test_floor_of_a_judgment():
    prompt, rates = gpu_floors.Prompt(3, 1, 4), gpu_card.Rates(flops=2832.0, bytes=944.0)
    assert gpu_floors.judge_floor_s(small_judge(), prompt, rates, batch=2, new_tokens=1) == 1.0
    assert gpu_floors.judge_floor_s(small_judge(), prompt, rates, batch=2, new_tokens=5) == 1.0 + 4 / 2


def test_floor_counts_the_weights_of_the_real_class():
    torch = pytest.importorskip("torch")
    from diffusers import QwenImageTransformer2DModel

    with torch.device("meta"):
        block = QwenImageTransformer2DModel(num_layers=1).transformer_blocks[0]
    met = sum(weight.numel() for name, weight in block.named_parameters() if weight.ndim == 2 and "_mod" not in name)
    assert met / 2 == gpu_floors.WEIGHTS_PER_LAYER * 3072**2  # half for image tokens, half for text


@pytest.mark.parametrize(
    ("name", "billions", "expected_ms"), [("qwen3_vl_30b_a3b", 31.07, 16.7), ("qwen3_vl_8b", 8.77, 28.6)]
)
def test_judges_have_their_published_size_and_floor(name, billions, expected_ms):
    from accelerate import init_empty_weights
    from bench.random_models import CONFIGS
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(CONFIGS / name)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(billions * 1e9, rel=1e-3)
    rates = gpu_card.Rates(flops=790e12, bytes=1.0)
    floor_s = gpu_floors.judge_floor_s(config, gpu_judges.PROMPT, rates, batch=1, new_tokens=1)
    assert floor_s * 1000 == pytest.approx(expected_ms, rel=0.02)


def test_drawn_weights_are_finite_and_buffers_keep_their_type():
    import torch
    from bench.random_models import editor_pipeline, judge_parts

    pipe = editor_pipeline("QwenImageEditPipeline", tiny=True, device="cpu")
    model, _ = judge_parts("qwen3_vl_30b_a3b", tiny=True, device="cpu")
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder, model):
        assert all(weight.device.type == "cpu" and weight.isfinite().all() for weight in part.parameters())
        assert all(buffer.dtype == torch.float32 for buffer in part.buffers())
    assert pipe.transformer.pos_embed.pos_freqs.dtype == torch.complex64
    experts = model.model.language_model.layers[0].mlp.experts.gate_up_proj  # (experts, 2 * width, hidden size)
    assert experts.std().item() == pytest.approx(experts.shape[-1] ** -0.5, rel=0.05)


@pytest.fixture
def one_thread():
    """Several threads on a machine that is busy wait for each other most of the time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_random_editors_and_judges_are_measured_on_a_cpu(tmp_path, one_thread):
    """The path that a GPU takes with the full size."""
    settings = Settings(tmp_path, quick=True)
    each, whole = gpu.edit_2511(settings)
    assert whole.value.median > 80 * each.value.low  # 40 steps with guidance
    assert "image + text tokens 4160 + " in each.note
    assert "SGLang" in whole.note
    preparation, *judged = gpu.judge_30b_a3b(settings)
    assert preparation.value.median > 0
    assert "45 to 60 ms at batch 1" in judged[0].note
    assert "a token step" in judged[-1].note
    assert [row.measured.partition(", ")[2].partition(":")[0] for row in judged] == [
        *["expected, batch 1", "expected, batch 2", "generate 6 tokens, batch 1", "generate 6 tokens, batch 2"]
    ]
    assert all("96 tokens, 40 of them shared, 64 patches" in row.note for row in judged)
    assert all(row.value.low > float(row.against.split()[1]) for row in [each, whole, *judged])


def test_the_editor_that_overrides_name_is_measured(tmp_path):
    settings = Settings(tmp_path, repeats=2, overrides=("editor=fake", "dataset.path=none.json"))
    (figure,) = gpu.figures(settings.overrides)
    (row,) = figure(settings)
    assert row.measured == "fake on CPU: an edit"
    assert 0 < row.value.low <= row.value.high


def test_what_would_not_end_in_time_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_card, "_BEGAN", -1e9)
    (row,) = gpu.edit_first(Settings(tmp_path))
    assert (row.measured, row.value) == ("Qwen-Image-Edit", None)
    assert "--only" in row.note


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "scripts" / "bench.py"), *arguments, "--out", "out/bench.json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170)


def test_a_quick_run_makes_table_and_json(tmp_path):
    done = bench(tmp_path, "edit", "--quick", "--repeats", "1", "--only", "efficiency_512")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "bench.json").read_text())
    (row,) = report["rows"]
    assert row["part"] == "edit"
    assert 0 < row["value"]["median"] <= 1
    assert row["measured"].split(",")[0] in done.stdout
    assert "QUICK" in done.stdout


def test_gpu_says_what_it_needs(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = bench(tmp_path, "gpu")
    assert done.returncode == 2
    assert "needs a CUDA GPU" in done.stderr
    assert not (tmp_path / "out").exists()
