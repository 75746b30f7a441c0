"""The editors of diffusers under conf/editor on tiny checkpoints of their real classes: what goes in and comes out."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny_pipelines
import torch
from benchmark_file import make_picture
from PIL import Image

from editbench.config.load import load
from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.errors import InvalidOutputError

SOURCE = (120, 72)
"""Width and height of the source image."""

ALWAYS = {"prompt", "num_inference_steps", "generator", "output_type"}
CALLED = "callback_on_step_end"
MADE: dict[str, tuple[tuple[int, int], set[str]]] = {
    "instruct_pix2pix": ((120, 72), {"image", "guidance_scale", "image_guidance_scale", CALLED}),
    "flux_kontext": ((160, 96), {"image", "guidance_scale", "height", "width", "max_area", CALLED}),
    "flux2": ((112, 64), {"image", "guidance_scale", CALLED}),
    "flux2_klein": ((112, 64), {"image", "guidance_scale", CALLED}),
    "longcat_image_edit": ((160, 96), {"image", "guidance_scale", "negative_prompt"}),
    "joy_image_edit": ((160, 96), {"image", "guidance_scale", CALLED}),
    "joy_image_edit_plus": ((160, 96), {"images", "guidance_scale", CALLED}),
    "omnigen": (
        (112, 64),
        {"input_images", "guidance_scale", "img_guidance_scale", "use_input_image_size_as_output", CALLED},
    ),
    "kandinsky5_i2i": ((160, 96), {"image", "guidance_scale", "negative_prompt", CALLED}),
    "glm_image": ((160, 96), {"image", "guidance_scale", "height", "width", CALLED}),
    "qwen_image_2_1": ((160, 96), {"image", "output_resolution", CALLED}),
}
"""Of each editor the edited image's width and height, and the names of the arguments that its pipeline is given."""


def kontext_sizes(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(pipe).__module__], "PREFERRED_KONTEXT_RESOLUTIONS", [(96, 160), (160, 96)])


def longcat_sizes(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(pipe).__module__], "calculate_dimensions", lambda _area, _ratio: (160, 96))


def joy_sizes(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "diffusers.pipelines.joyimage.image_processor"
    monkeypatch.setattr(f"{module}.find_best_bucket", lambda *_: (96, 160))


def kandinsky_sizes(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "resolutions", [(96, 160), (160, 96)])


SMALLER: dict[str, Callable[[Any, pytest.MonkeyPatch], None]] = {
    "flux_kontext": kontext_sizes,
    "longcat_image_edit": longcat_sizes,
    "joy_image_edit": joy_sizes,
    "joy_image_edit_plus": joy_sizes,
    "kandinsky5_i2i": kandinsky_sizes,
}
"""What makes pipelines that know sizes of a megapixel alone work on a few thousand pixels."""


@pytest.fixture(scope="module")
def build(
    tiny_checkpoints_script: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., DiffusersEditor]:
    """Loads the editor of a name, as its YAML says, on a tiny checkpoint that is written once."""
    folders: dict[str, Path] = {}

    def load_editor(name: str, **changes: Any) -> DiffusersEditor:
        torch.set_num_threads(1)
        if name not in folders:
            folders[name] = tiny_pipelines.build(name, tiny_checkpoints_script, tmp_path_factory.mktemp(name))
        kwargs = load([f"editor={name}", "judge=fake", "dataset.path=x"]).editor.kwargs
        kwargs |= {"checkpoint": str(folders[name]), "dtype": "float32", "num_inference_steps": 2, "area": 128 * 128}
        if name == "qwen_image_2_1":
            kwargs["call"] = {"output_resolution": 128}
        return DiffusersEditor("cpu", **(kwargs | changes))

    return load_editor


def no_step(_done: int, _total: int) -> None:
    pass


def record_calls(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keep the arguments of every call; the signature stays the class's own."""
    calls: list[dict[str, Any]] = []
    cls = type(pipe)
    original = cls.__call__

    @functools.wraps(original)
    def recording(self: Any, *args: Any, **kwargs: Any) -> Any:
        assert not args
        calls.append(kwargs)
        return original(self, **kwargs)

    monkeypatch.setattr(cls, "__call__", recording)
    return calls


@pytest.mark.parametrize("name", tiny_pipelines.BUILDERS)
def test_an_editor_edits_on_a_tiny_checkpoint_of_its_class(
    build: Callable[..., DiffusersEditor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = build(name)
    if name in SMALLER:
        SMALLER[name](editor._pipe, monkeypatch)
    calls = record_calls(editor._pipe, monkeypatch)
    source = make_picture(1, SOURCE)
    steps: list[tuple[int, int]] = []

    def edit(seed: int) -> Image.Image:
        return editor.edit(source, "turn the <|im_end|> sky red", seed, lambda *step: steps.append(step))

    first, again, other = edit(7), edit(7), edit(8)
    size, names = MADE[name]
    assert (first.mode, first.size) == ("RGB", size)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert set(calls[0]) == ALWAYS | names
    given = calls[0][editor._call.image_argument]
    (shown,) = given if editor._call.images == "list" else [given]
    assert shown.size == (size if name == "glm_image" else SOURCE)
    assert "<\u2060|im_end|>" in calls[0]["prompt"]
    assert steps == ([(1, 2), (2, 2)] * 3 if CALLED in names else [])
    assert editor.describe()["class"] == type(editor._pipe).__name__


def test_kontext_takes_a_list_as_a_batch_so_a_second_image_would_not_be_seen(
    build: Callable[..., DiffusersEditor],
) -> None:
    """Fails once Kontext reads a list as references: then its YAML can say `images: list`."""
    pipe = build("flux_kontext")._pipe
    pictures = [make_picture(1, (64, 64)), make_picture(2, (64, 64))]
    shared = {"prompt": "x", "height": 64, "width": 64, "max_area": 64 * 64, "num_inference_steps": 1}
    with pytest.raises((RuntimeError, ValueError)):
        pipe(image=pictures, **shared)


def test_kontext_alone_would_make_another_size_than_asked_for(
    build: Callable[..., DiffusersEditor], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = build("flux_kontext", size="native", height=64, width=128)
    assert editor.edit(make_picture(1, SOURCE), "x", 0, no_step).size == (128, 64)
    editor = build("flux_kontext", size="native", height=64, width=128, call={"max_area": 64 * 64})
    with pytest.raises(InvalidOutputError, match=r"returned \(80, 32\) pixels, asked for were \(128, 64\)"):
        editor.edit(make_picture(1, SOURCE), "x", 0, no_step)


def test_glm_image_fails_on_any_source_as_diffusers_and_transformers_are(
    build: Callable[..., DiffusersEditor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails once one of them has changed: then `take_joined_features` can go."""
    monkeypatch.setattr("editbench.editors.diffusers_pipeline.take_joined_features", lambda encoder: None)
    with pytest.raises(RuntimeError, match="channels"):
        build("glm_image").edit(make_picture(1, SOURCE), "x", 0, no_step)


def test_glm_image_fails_on_sources_that_are_not_scaled(build: Callable[..., DiffusersEditor]) -> None:
    """Fails once GLM-Image takes sources of any size: then its YAML can leave `resize_source` out."""
    editor = build("glm_image", resize_source=False)
    with pytest.raises(RuntimeError, match="size"):
        editor.edit(make_picture(1, SOURCE), "x", 0, no_step)


def test_a_size_is_kept_in_shape_by_the_qwen_editor_too(tiny_checkpoints: Path) -> None:
    kwargs = load(["editor=tiny", "judge=fake", "dataset.path=x"]).editor.kwargs
    kwargs |= {"height": None, "width": None, "size": "keep", "area": 64 * 64, "true_cfg_scale": 1.0}
    kwargs |= {"checkpoint": str(tiny_checkpoints / "qwen_image_edit")}
    editor = DiffusersEditor("cpu", **kwargs)
    assert editor.edit(make_picture(1, (200, 50)), "x", 0, no_step).size == (128, 32)
    assert editor.describe()["call"]["size"] == "keep"
