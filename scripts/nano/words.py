"""The words that the nano models know, and tokenizers made of them."""

import itertools
import re
from pathlib import Path

import yaml
from make_tiny_checkpoints import CORPUS, build_tokenizer
from transformers import AddedToken, Qwen2Tokenizer

from nano import scenes

RUBRICS = Path(__file__).parents[2] / "conf" / "rubric"
SAID = (
    "把",
    "将",
    "让",
    "变成",
    "改为",
    "移除",
    "去掉",
    "背景",
    "向",
    "往",
    "移动",
    "移",
    "一格",
    "的",
    "图形",
    "落到",
    "放到",
    "地面上",
    "。",
    "：",
    "、",
    "空",
)
CHINESE = (*SAID, *scenes.COLOURS_ZH, *scenes.SHAPES_ZH, *scenes.BACKGROUNDS_ZH, *scenes.SIDES_ZH, *scenes.WAYS_ZH)


def spoken() -> list[str]:
    """Every word of the instructions and descriptions, each as it stands behind a space or at the start."""
    templates = [text for choices in scenes.TEMPLATES.values() for text in choices]
    names = [*scenes.COLOURS, *scenes.SHAPES, *scenes.BACKGROUNDS, *scenes.SIDES, *scenes.WAYS]
    described = ["On grey: a red circle, an orange circle. nothing"]
    words = itertools.chain.from_iterable(re.split(r"\{\w\}", text) for text in [*templates, *described])
    return [*words, *(f" {name}" for name in names), ".", ",", ":"]


def editor_tokenizer() -> Qwen2Tokenizer:
    """Tokenizer of the editor; with it the first 64 tokens of the pipeline's template are those it drops."""
    return build_tokenizer("\n".join([CORPUS, *spoken(), *CHINESE]))


def rubric() -> dict[str, str]:
    """The rubric of the scenes as in its files, with the forms of the answer."""
    texts: dict[str, str] = {}
    for name in ("answer", "scene_edit"):
        texts |= yaml.safe_load((RUBRICS / f"{name}.yaml").read_text(encoding="utf-8"))
    return texts


def judge_tokenizer() -> Qwen2Tokenizer:
    """Tokenizer of the judge: it knows every word of the rubric, and every longer line of it as one token."""
    texts = [text for text in rubric().values() if isinstance(text, str)]
    tokenizer = build_tokenizer("\n".join([CORPUS, *spoken(), *CHINESE, *texts]))
    lines = sorted({line.strip() for text in texts for line in text.splitlines()})
    long = [line for line in lines if len(line) > 30]
    tokenizer.add_tokens([AddedToken(line, special=False, normalized=False) for line in long])
    return tokenizer
