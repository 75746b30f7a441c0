"""What runs code of others does so only when told to: pickles, code in checkpoints, eval."""

import ast
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from running import CHECKOUT, run_python

from editbench.components import checkpoint as checkpoints
from editbench.config.load import load
from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.errors import UserError
from editbench.judges.qwen3_vl import Qwen3VLJudge

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCES = sorted((CHECKOUT / "editbench").rglob("*.py"))


class Trap:
    """A pickle of it leaves a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once a pickle was loaded."""
    return tmp_path / "loaded"


@pytest.fixture
def pickled(tmp_path: Path, mark: Path) -> Path:
    """A checkpoint folder whose weights are a pickle."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(mark)))
    return folder


def disguise(folder: Path, mark: Path, weights: str, pickle_name: str) -> None:
    """Put a pickle in place of one part's safetensors."""
    for file in (folder / weights).glob("*.safetensors*"):
        file.unlink()
    (folder / weights / pickle_name).write_bytes(pickle.dumps(Trap(mark)))


def test_a_folder_of_pickles_is_refused_unless_they_are_allowed(pickled: Path, mark: Path) -> None:
    with pytest.raises(UserError, match="allow_pickle=true"):
        checkpoints.find(str(pickled), None, download=False)
    found = checkpoints.find(str(pickled), None, download=False, extra=["allow_pickle"])
    assert found is not None
    assert found.size_bytes == (pickled / "pytorch_model.bin").stat().st_size
    assert not mark.exists()


@pytest.mark.parametrize(("phase", "group"), [("edit", "editor"), ("plan", "editor"), ("plan", "judge")])
def test_a_command_refuses_pickles_before_anything_is_loaded(
    pickled: Path, mark: Path, tmp_path: Path, phase: str, group: str
) -> None:
    record = '[{"subset": "physical", "edit_instruction_en": "x", "src_img_b64": "x"}]'
    (tmp_path / "bench.json").write_text(record)
    choices = {"editor": "fake", "judge": "fake", group: "tiny"}
    overrides = [f"{key}={value}" for key, value in choices.items()]
    overrides += [f"{group}.checkpoint={pickled}", "dataset.path=bench.json", "run_dir=run"]
    outcome = run_python(["-m", f"editbench.{phase}", *overrides], tmp_path)
    assert outcome.code == 2, outcome.tail
    assert "holds no .safetensors file" in outcome.errors[0]
    assert not mark.exists()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("text_encoder", "pytorch_model.bin"),
        ("transformer", "diffusion_pytorch_model.bin"),
        ("vae", "diffusion_pytorch_model.bin"),
    ],
)
def test_a_pickle_among_safetensors_is_not_loaded_by_an_editor(
    tiny_checkpoints: Path, tmp_path: Path, mark: Path, part: str, name: str
) -> None:
    folder = shutil.copytree(tiny_checkpoints / "qwen_image_edit", tmp_path / "copy")
    disguise(folder, mark, part, name)
    with pytest.raises(UserError, match=rf"not whole: {part} has no \.safetensors file"):
        checkpoints.find(str(folder), None, download=False)
    with pytest.raises(OSError, match="safetensors"):
        DiffusersEditor("cpu", "QwenImageEditPipeline", str(folder))
    assert not mark.exists()


def test_a_pickle_is_not_loaded_by_a_judge(tiny_checkpoints: Path, tmp_path: Path, mark: Path) -> None:
    folder = shutil.copytree(tiny_checkpoints / "qwen3_vl", tmp_path / "copy")
    disguise(folder, mark, ".", "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Qwen3VLJudge(["cpu"], str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("group", ["editor", "judge"])
@pytest.mark.parametrize("revision", ["null", "main", "v1.0", COMMIT[:39], COMMIT + "0", COMMIT[:39] + "g", "''"])
def test_code_of_a_checkpoint_is_refused_without_a_commit(group: str, revision: str) -> None:
    with pytest.raises(UserError, match=rf"{group}\.trust_remote_code=true .* pin it with {group}\.revision="):
        load([f"{group}.trust_remote_code=true", f"{group}.revision={revision}"])


@pytest.mark.parametrize("group", ["editor", "judge"])
def test_code_of_a_checkpoint_is_off_by_default_and_on_with_a_commit(group: str) -> None:
    for choice in ("tiny", {"editor": "qwen_image_edit", "judge": "qwen3_vl"}[group]):
        kwargs = getattr(load([f"{group}={choice}"]), group).kwargs
        assert (kwargs["trust_remote_code"], kwargs["allow_pickle"]) == (False, False)
    overrides = [f"{group}.trust_remote_code=true", f"{group}.revision='{COMMIT}'"]
    assert getattr(load(overrides), group).kwargs["trust_remote_code"] is True


FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "torch.save", "torch.jit.load", "numpy.load", "np.load", "yaml.load", "yaml.unsafe_load"),
    *("yaml.full_load", "os.system", "os.popen", "pickle.loads", "pickle.load"),
}
FORBIDDEN_NAMES = {"gather_object", "all_gather_object", "broadcast_object_list", "scatter_object_list"}
FORBIDDEN_NAMES |= {"send_object_list", "recv_object_list", "extractall", "allow_pickle=True", "shell=True"}

BETWEEN_RANKS = {"pickle", "pickle.loads", "broadcast_object_list", "all_gather_object"}
"""Ranks of one job trust each other; nothing of this is read from or written to a file."""


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(CHECKOUT)) for path in SOURCES])
def test_no_source_loads_pickles_or_runs_text(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported, called, named = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call):
            called.add(ast.unparse(node.func))
            named |= {ast.unparse(keyword) for keyword in node.keywords}
        elif isinstance(node, ast.Attribute):
            named.add(node.attr)
    among_ranks = BETWEEN_RANKS if path.parent.name == "distributed" else set()
    assert not (imported & FORBIDDEN_IMPORTS) - among_ranks
    assert not (called & FORBIDDEN_CALLS) - among_ranks
    assert not (named & FORBIDDEN_NAMES) - among_ranks
