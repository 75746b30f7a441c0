"""What makes edits faster, on the real classes with tiny random weights: it works, and B after A is B alone."""

import importlib.util
import json
import pickle
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_file import make_picture
from diffusers import DiffusionPipeline, QwenImageTransformer2DModel
from running import CHECKOUT, run_phase, run_python
from safetensors.torch import save_file

from editbench.editors.acceleration import Acceleration
from editbench.editors.apply_acceleration import apply
from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.errors import UserError
from editbench.run.folder import RunDir
from editbench.run.shards import read_image

PIPELINES = {"qwen_image_edit": "QwenImageEditPipeline", "qwen_image_edit_plus": "QwenImageEditPlusPipeline"}
STEPS = 5
GUIDED = {
    **{"dtype": "float32", "height": 64, "width": 64, "num_inference_steps": STEPS},
    **{"true_cfg_scale": 4.0, "negative_prompt": " "},
}
QUICK = {"num_inference_steps": 2, "true_cfg_scale": 1.0, "negative_prompt": None}
EDITS = [((320, 200), "turn the sky red"), ((90, 300), "make it night with snow on the table"), ((64, 64), "add a cat")]
CACHES = {"first_block": {"threshold": 2.0}}
LORA_FILE = "lora.safetensors"


@pytest.fixture(scope="module")
def checkpoints(
    tiny_checkpoints: Path, tiny_checkpoints_script: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny pipelines with a denoiser of three blocks: caches have nothing to leave out of one."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("three_blocks")
    for name in PIPELINES:
        folder = shutil.copytree(tiny_checkpoints / name, root / name)
        config = QwenImageTransformer2DModel.load_config(folder / "transformer") | {"num_layers": 3}
        transformer = QwenImageTransformer2DModel.from_config(config)
        tiny_checkpoints_script.randomize(transformer, 9)
        transformer.save_pretrained(folder / "transformer")
    return root


def load(checkpoints: Path, name: str = "qwen_image_edit", **settings: Any) -> DiffusersEditor:
    return DiffusersEditor("cpu", PIPELINES[name], str(checkpoints / name), **{**GUIDED, **settings})


def edit(editor: DiffusersEditor, number: int, on_step: Any = lambda done, total: None) -> bytes:
    size, instruction = EDITS[number]
    return editor.edit(make_picture(number, size), instruction, number, on_step).tobytes()


def write_lora(file: Path, modules: tuple[str, ...] = ("attn.to_q", "img_mlp.net.2"), width: int = 32) -> Path:
    """Write a LoRA in the form of the distilled ones: lora_down, lora_up and alpha for each module."""
    generator = torch.Generator().manual_seed(1)
    weights: dict[str, torch.Tensor] = {}
    for module in modules:
        wide = 4 * width if module.endswith("net.2") else width
        name = f"transformer_blocks.0.{module}"
        weights[f"{name}.lora_down.weight"] = torch.randn(2, wide, generator=generator)
        weights[f"{name}.lora_up.weight"] = torch.randn(width, 2, generator=generator)
        weights[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(weights, file)
    return file


# Nothing by default


def test_everything_is_off_by_default_and_passes_are_counted(checkpoints: Path) -> None:
    editor = load(checkpoints)
    assert list(editor.describe()) == ["class", "call"]
    edit(editor, 0)
    assert editor.describe()["denoiser_passes_per_edit"] == 2 * STEPS
    assert "cached_passes_per_edit" not in editor.describe()
    editor = load(checkpoints, **QUICK)
    edit(editor, 2)
    edit(editor, 2)
    assert editor.describe()["denoiser_passes_per_edit"] == 2


def test_weights_stay_in_the_file_that_all_processes_share(checkpoints: Path) -> None:
    """A copy of them would be one for each process; mapped files are in memory once."""
    pipe = load(checkpoints)._pipe
    regions = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(".safetensors"):
            first, last = line.split()[0].split("-")
            regions.append(range(int(first, 16), int(last, 16)))
    for part in (pipe.transformer, pipe.text_encoder, pipe.vae):
        largest = max(part.parameters(), key=torch.Tensor.numel)
        assert any(largest.data_ptr() in region for region in regions), type(part).__name__


# Caches


@pytest.mark.parametrize(
    ("name", "cache"),
    [
        ("qwen_image_edit", "first_block"),
        pytest.param("qwen_image_edit_plus", "first_block", marks=pytest.mark.slow),
    ],
)
def test_a_cache_changes_the_picture_and_does_not_outlive_an_edit(checkpoints: Path, name: str, cache: str) -> None:
    settings = {"cache": cache, "cache_options": CACHES[cache]}
    alone = edit(load(checkpoints, name, **settings), 1)
    assert alone != edit(load(checkpoints, name), 1)
    editor = load(checkpoints, name, **settings)
    edit(editor, 0)
    assert edit(editor, 1) == alone
    facts = editor.describe()
    assert facts["cache"] == cache and facts["cache_options"] == CACHES[cache]
    assert facts["denoiser_passes_per_edit"] == 2 * STEPS
    assert 0 < facts["cached_passes_per_edit"] < 2 * STEPS


def test_an_edit_that_fails_leaves_nothing_in_the_cache(checkpoints: Path) -> None:
    settings = {"cache": "first_block", "cache_options": CACHES["first_block"]}
    alone = edit(load(checkpoints, **settings), 1)

    def fail_half_way(done: int, _total: int) -> None:
        if done == STEPS // 2:
            raise RuntimeError("half way")

    editor = load(checkpoints, **settings)
    with pytest.raises(RuntimeError, match="half way"):
        edit(editor, 0, fail_half_way)
    assert edit(editor, 1) == alone
    assert editor.describe()["denoiser_passes_per_edit"] == 2 * STEPS  # of the one that has a picture


def test_a_first_block_cache_needs_a_second_block(tiny_checkpoints: Path) -> None:
    with pytest.raises(UserError, match=r"editor\.cache='first_block' cannot be used: .* fewer than two blocks"):
        load(tiny_checkpoints, cache="first_block")


# Attention, scheduler, compilation


@pytest.fixture
def attention_backend() -> Any:
    """Diffusers keeps the last backend set for the whole process."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


@pytest.mark.usefixtures("attention_backend")
def test_an_attention_backend_of_this_machine_is_used(checkpoints: Path) -> None:
    editor = load(checkpoints, attention_backend="_native_math", **QUICK)
    backends = {processor._attention_backend for processor in editor._pipe.transformer.attn_processors.values()}
    assert [backend.value for backend in backends] == ["_native_math"]
    edit(editor, 2)
    assert editor.describe()["attention_backend"] == "_native_math"


@pytest.mark.usefixtures("attention_backend")
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("_native_cudnn", "No viable backend"),
        ("flash_attention", "must be one of the following"),
        pytest.param(
            "flash",
            "missing package",
            marks=pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is here"),
        ),
    ],
)
def test_an_attention_backend_that_cannot_be_used_is_an_error_at_the_start(
    checkpoints: Path, backend: str, said: str
) -> None:
    with pytest.raises(UserError, match=rf"editor\.attention_backend='{backend}' cannot be used: .*{said}"):
        load(checkpoints, attention_backend=backend)


def test_settings_of_the_scheduler_are_changed(checkpoints: Path) -> None:
    shifts = {"base_shift": 1.0986, "max_shift": 1.0986, "shift_terminal": None}
    shifted = load(checkpoints, scheduler=shifts, **QUICK)
    config = shifted._pipe.scheduler.config
    assert (config.base_shift, config.shift_terminal, config.use_dynamic_shifting) == (1.0986, None, True)
    assert edit(shifted, 2) != edit(load(checkpoints, **QUICK), 2)
    with pytest.raises(
        UserError, match=r"editor\.scheduler: FlowMatchEuler\w+ has no setting 'shft'; it has num_train"
    ):
        load(checkpoints, scheduler={"shft": 3.0})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_what_is_compiled_does_not_depend_on_the_edits_before(tiny_checkpoints: Path) -> None:
    settings = {"compile": True, **QUICK}
    editor = load(tiny_checkpoints, **settings)
    first, second = edit(editor, 0), edit(editor, 1)
    assert editor.describe()["compile"] is True
    torch._dynamo.reset()
    other = load(tiny_checkpoints, **settings)
    assert (edit(other, 1), edit(other, 0)) == (second, first)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0


# LoRA


def test_a_lora_changes_the_picture_by_its_scale(checkpoints: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / LORA_FILE)

    def edit_with(scale: float) -> bytes:
        lora = {"path": str(tmp_path), "weight_name": LORA_FILE, "scale": scale}
        return edit(load(checkpoints, lora=lora, **QUICK), 2)

    plain = edit(load(checkpoints, **QUICK), 2)
    assert edit_with(0.0) == plain
    assert len({plain, edit_with(1.0), edit_with(0.5)}) == 3


def test_a_fused_lora_is_part_of_the_weights_in_memory_and_not_in_the_file(checkpoints: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / LORA_FILE)
    (file,) = (checkpoints / "qwen_image_edit" / "transformer").glob("*.safetensors")
    before = file.read_bytes()
    lora = {"path": str(tmp_path), "weight_name": LORA_FILE, "scale": 0.5}
    beside, fused = (load(checkpoints, lora=lora | {"fuse": fuse}, **QUICK) for fuse in (False, True))
    assert [name for name, _ in beside._pipe.transformer.named_modules() if "lora" in name]
    assert not [name for name, _ in fused._pipe.transformer.named_modules() if "lora" in name]
    pixels = [np.frombuffer(edit(editor, 2), np.uint8).astype(int) for editor in (beside, fused)]
    assert abs(pixels[0] - pixels[1]).max() <= 1  # added in another order
    assert abs(pixels[0] - np.frombuffer(edit(load(checkpoints, **QUICK), 2), np.uint8)).max() > 1
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("modules", "width", "said"),
    [
        (("attn.to_z", "attn.to_q"), 32, r"for another model than QwenImageTransformer2DModel, which has no .*to_z"),
        (("attn.to_z",), 32, r"to_z'} not found"),
        (("attn.to_q",), 48, "size mismatch"),
    ],
)
def test_a_lora_of_another_model_is_refused(
    checkpoints: Path, tmp_path: Path, modules: tuple[str, ...], width: int, said: str
) -> None:
    write_lora(tmp_path / LORA_FILE, modules, width)
    with pytest.raises(UserError, match=rf"editor\.lora\.weight_name='{LORA_FILE}' cannot be used: .*{said}"):
        load(checkpoints, lora={"path": str(tmp_path), "weight_name": LORA_FILE})


class Trap:
    """A pickle of it leaves a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("name", [LORA_FILE, "lora.bin"])
def test_a_pickled_lora_is_not_loaded(checkpoints: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "loaded")))
    with pytest.raises(UserError, match=r"editor\.lora\.weight_name="):
        load(checkpoints, lora={"path": str(tmp_path), "weight_name": name})
    assert not (tmp_path / "loaded").exists()


def test_a_pickled_lora_is_loaded_where_that_is_allowed(checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(write_lora(tmp_path / LORA_FILE)), tmp_path / "lora.bin")
    loras = [{"path": str(tmp_path), "weight_name": name} for name in (LORA_FILE, "lora.bin")]
    pictures = [edit(load(checkpoints, lora=lora, allow_pickle=True, **QUICK), 2) for lora in loras]
    assert pictures[0] == pictures[1]


# Memory


def test_weights_that_go_straight_to_their_device_make_the_same_picture(checkpoints: Path) -> None:
    class Straight(DiffusersEditor):
        def _load(self, pipeline: str, checkpoint: str, **arguments: Any) -> Any:
            return super()._load(pipeline, checkpoint, device_map="cpu", **arguments)

    straight = Straight("cpu", PIPELINES["qwen_image_edit"], str(checkpoints / "qwen_image_edit"), **GUIDED | QUICK)
    assert straight._pipe.hf_device_map == "cpu"
    assert edit(straight, 1) == edit(load(checkpoints, **QUICK), 1)


@pytest.mark.parametrize(
    ("settings", "device", "straight"),
    [
        ({}, "cuda:3", True),
        ({}, "cuda:0", False),  # not the current one, and diffusers knows no other
        ({}, "cpu", False),
        ({"lora": {"path": "a", "weight_name": "b"}, "compile": True}, "cuda:3", True),
        ({"offload": "model"}, "cuda:3", False),
        ({"quantization": "torchao_int8_weight_only"}, "cuda:3", True),
    ],
)
def test_weights_go_straight_to_a_gpu_where_the_library_can(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], device: str, straight: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr("editbench.editors.acceleration._quantization", lambda kind: None)
    monkeypatch.setattr("diffusers.PipelineQuantizationConfig", SimpleNamespace)
    arguments = Acceleration(**settings).loading_arguments(device)
    assert arguments.get("device_map") == ("cuda" if straight else None)
    assert arguments["dtype"] == torch.bfloat16


@pytest.fixture
def loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be loaded")

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", refuse)


@pytest.mark.usefixtures("loads_nothing")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"offload": "model"}, r"editor\.offload=model: keeps weights off a GPU, and this process works on cpu"),
        ({"offload": "group"}, r"editor\.offload=group: "),
        (
            {"quantization": "torchao_int8_weight_only"},
            "needs the package torchao, which is not here; pip install torchao",
        ),
        ({"quantization": "torchao_float8_dynamic", "dtype": "bfloat16"}, "needs the package torchao"),
    ],
)
def test_what_the_machine_lacks_is_an_error_before_anything_is_loaded(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=said):
        load(checkpoints, **settings)


@pytest.mark.parametrize(("device", "capability"), [("cpu", (9, 0)), ("cuda:0", (8, 6))])
def test_float8_is_not_multiplied_where_the_device_cannot(
    monkeypatch: pytest.MonkeyPatch, device: str, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    with pytest.raises(UserError, match=rf"compute capability 8\.9 or higher, and {device} is none"):
        Acceleration(quantization="torchao_float8_dynamic").check_machine(device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 9))
    Acceleration(quantization="torchao_float8_dynamic").check_machine("cuda:0")


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs the package torchao")
@pytest.mark.parametrize("quantization", ["torchao_int8_weight_only"])
def test_quantized_weights_give_another_picture_and_the_same_again(checkpoints: Path, quantization: str) -> None:
    editor = load(checkpoints, quantization=quantization, **QUICK)
    weight = editor._pipe.transformer.transformer_blocks[0].attn.to_q.weight
    assert type(weight).__module__.startswith("torchao.")
    alone = edit(editor, 2)
    assert alone != edit(load(checkpoints, **QUICK), 2)
    other = load(checkpoints, quantization=quantization, **QUICK)
    edit(other, 0)
    assert edit(other, 2) == alone


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cache": "first_block"}, "supports no cache"),
        ({"lora": {"path": "/", "weight_name": "a.safetensors"}}, "takes no LoRA"),
        ({"attention_backend": "native"}, "has its own attention"),
        ({"compile": True}, "compile_repeated_blocks"),
    ],
)
def test_what_a_pipeline_lacks_is_an_error(settings: dict[str, Any], said: str) -> None:
    class Pipeline(SimpleNamespace):
        def to(self, device: str) -> None:
            pass

    pipe = Pipeline(unet=torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match=said):
        apply(Acceleration(**settings), pipe, "cpu")
    with pytest.raises(UserError, match="neither transformer nor unet"):
        apply(Acceleration(**settings), Pipeline(), "cpu")


# Whole phases


def pictures(run_dir: Path) -> dict[str, bytes]:
    run = RunDir(run_dir)
    return {
        sample_id: read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        for sample_id, edit in run.read_edits().items()
    }


def test_accelerated_edits_are_the_same_on_any_number_of_processes_and_on_record(
    checkpoints: Path, tmp_path: Path
) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    write_lora(tmp_path / "here" / LORA_FILE)
    shutil.copyfile(tmp_path / "here" / LORA_FILE, tmp_path / "there" / "renamed.safetensors")

    def settings(path: str, weight_name: str) -> list[str]:
        return [
            *("editor=tiny", "judge=tiny", f"dataset.path={CHECKOUT / 'data' / 'demo' / 'demo.json'}", "limit=2"),
            *(f"editor.checkpoint={checkpoints / 'qwen_image_edit'}", "editor.num_inference_steps=4"),
            *("editor.cache=first_block", "+editor.cache_options.threshold=2.0"),
            f"editor.lora={{path:{tmp_path / path},weight_name:{weight_name},scale:0.5}}",
        ]

    alone, pair = tmp_path / "alone", tmp_path / "pair"
    run_phase("edit", alone, settings("here", LORA_FILE), 1)
    run_phase("edit", pair, settings("there", "renamed.safetensors"), 2)
    assert pictures(alone) == pictures(pair)
    assert len(set(pictures(alone).values())) == 2
    assert {e.unit for e in RunDir(alone).read_edits().values()} == {e.unit for e in RunDir(pair).read_edits().values()}

    run_phase("report", alone, settings("here", LORA_FILE))
    report = json.loads((alone / "report.json").read_text(encoding="utf-8"))
    editor, phase = report["editor"], report["phases"]["edit"]
    assert editor["lora"] == f"{tmp_path / 'here'}/{LORA_FILE}"
    assert (editor["lora_scale"], editor["cache"]) == (0.5, "first_block")
    assert editor["denoiser_passes_per_edit"] == 8 > editor["cached_passes_per_edit"] > 0
    latencies = [e.latency_s for e in RunDir(alone).read_edits().values()]
    assert phase["median_latency_s"] == pytest.approx(sum(latencies) / 2, abs=1e-4)
    assert phase["load_peak_gib"] > 0.1
    assert "denoiser\\_passes\\_per\\_edit: 8" in (alone / "report.md").read_text(encoding="utf-8")

    write_lora(tmp_path / "here" / LORA_FILE, ("attn.to_k",))
    outcome = run_python(["-m", "editbench.edit", f"run_dir={alone}", *settings("here", LORA_FILE)], tmp_path)
    assert outcome.code == 2
    assert "2 edits of this run were made with other settings (a checkpoint's files" in outcome.errors[0]
