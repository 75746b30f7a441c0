"""The harness of scripts/bench.py: its arithmetic on hand-computed values, and a quick run of its cheap parts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

from bench import gpu, measure, stand_ins  # noqa: E402


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
    assert gpu.pass_flops(gpu.Pass(1, 2, 1), dim=2, layers=1) == 360
    assert gpu.floor_s([gpu.Pass(2, 2, 1), gpu.Pass(1, 2, 1)], 2, 1, flops_per_s=1080) == 1.0


def test_flops_of_qwen_image_edit():
    """60 layers of 24 heads of 128; 1024 x 1024 pixels are 4096 tokens, twice: the noise and one source."""
    assert gpu.pass_flops(gpu.Pass(1, 8192, 300), dim=3072, layers=60) == pytest.approx(1.7e14, rel=0.05)


def test_floor_counts_the_weights_of_the_real_class():
    torch = pytest.importorskip("torch")
    from diffusers import QwenImageTransformer2DModel

    with torch.device("meta"):
        block = QwenImageTransformer2DModel(num_layers=1).transformer_blocks[0]
    met = sum(weight.numel() for name, weight in block.named_parameters() if weight.ndim == 2 and "_mod" not in name)
    assert met / 2 == gpu.WEIGHTS_PER_LAYER * 3072**2  # half for image tokens, half for text


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
