"""The words that the nano models know, and tokenizers made of them."""

import itertools
import re
from pathlib import Path

import yaml
from make_tiny_checkpoints import CORPUS, build_tokenizer
from transformers import AddedToken, Qwen2Tokenizer

from nano import scenes

RUBRICS = Path(__file__).parents[2] / "conf" / "rubric"
SEED_RUBRICS = ("physical", "environmental", "social", "causal", "referential")
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


def rubric_texts() -> list[str]:
    """Every text of the files that the scenes' categories share with the benchmark's others."""
    files = [RUBRICS / f"{name}.yaml" for name in ("answer", *sorted(SEED_RUBRICS))]
    values = [value for file in files for value in yaml.safe_load(file.read_text(encoding="utf-8")).values()]
    return [value for value in values if isinstance(value, str)]


def judge_tokenizer() -> Qwen2Tokenizer:
    """Tokenizer of the judge: it knows every word of the rubrics, and every line of their system prompts as one token.

    A system prompt is then some 40 tokens in place of 700.
    """
    tokenizer = build_tokenizer("\n".join([CORPUS, *spoken(), *CHINESE, *rubric_texts()]))
    lines = sorted({line.strip() for text in rubric_texts() if "{" not in text for line in text.splitlines()} - {""})
    long = [line for line in lines if len(line) > 30]
    tokenizer.add_tokens([AddedToken(line, special=False, normalized=False) for line in long])
    return tokenizer
