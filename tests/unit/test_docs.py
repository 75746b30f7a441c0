"""What the documents point to is there: files, modules that are commands, and settings."""

import re
from pathlib import Path

import pytest

from editbench.config.load import load

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
FILES = r"(?:py|json|md|html)\b"
GROUPS = "dataset|editor|judge|protocol|edit|source|distributed|score|report|tracker"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_commands_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (document.parent / link).exists()] == []
    modules = set(re.findall(r"-m (editbench[.\w]*)", text))
    assert [module for module in modules if not (CHECKOUT / f"{module.replace('.', '/')}.py").exists()] == []


def test_settings_that_the_documents_name_are_there() -> None:
    choices = (
        *(["editor=qwen_image_edit", f"dataset={name}"] for name in ("json_file", "folder", "parquet")),
        ["editor=images_edits", "editor.model=m"],
        ["editor=pictures", "editor.folder=f"],
        ["judge=openai", "judge.model=m"],
        ["judge=vllm"],
        ["tracker=wandb"],
        ["tracker=trackio"],
    )
    known = {
        f"{group}.{key}"
        for chosen in choices
        for group, node in load(["judge=qwen3_vl", *chosen, "run_name=x", "dataset.path=x"]).resolved.items()
        if isinstance(node, dict)
        for key in node
    }
    accepted = {"editor.lora", "editor.allow_pickle", "editor.quantization", "editor.call", "editor.checkpoint"}
    named = {
        key
        for document in DOCUMENTS
        if document.name != "CHANGELOG.md"
        for key in re.findall(rf"`((?:{GROUPS})\.(?!{FILES})[a-z_]+)", document.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert named - known - accepted == set()
