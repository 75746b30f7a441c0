"""What a judge is asked, as text by its chat template, with its own turn begun and its thinking as wanted."""

import re
from typing import Any

from editbench.errors import UserError
from editbench.judges.base import ImagesStand, Request
from editbench.text import as_plain_text

OPENED = re.compile(r"<(think(?:ing)?)>\s*\Z")
MARKS = re.compile(r"(</?think(?:ing)?>)")


class ChatTemplate:
    """The chat template of a transformers processor.

    Args:
        processor: The processor.
        thinking: Whether the judge is to think first, as the template's `enable_thinking` says; false also closes a
            block that the template opens all the same. None: as the template has it.
        images: Whether the images of a request stand before its text or behind it.

    Attributes:
        opening: The mark of a thinking block that prompts end with; empty where they open none.

    Raises:
        UserError: thinking is wanted, and the template knows none.
    """

    def __init__(self, processor: Any, thinking: bool | None, images: ImagesStand = "first") -> None:
        self._images = images
        self._arguments = {} if thinking is None else {"enable_thinking": thinking}
        question = [_turn("user", _text("?"))]
        prompt = _render(processor, question, self._arguments)
        block = OPENED.search(prompt)
        if thinking and not block and prompt == _render(processor, question, {"enable_thinking": False}):
            raise UserError("judge.thinking=true: this judge's chat template knows no thinking; use null")
        self.opening = block[0] if block and thinking is not False else ""
        self._closing = f"\n</{block[1]}>\n\n" if block and thinking is False else ""

    def prompt(self, request: Request, processor: Any) -> str:
        """Lay a request out; nothing that others wrote, or the judge itself, acts as a special token.

        Args:
            request: The request.
            processor: The calling thread's own.
        """

        def plain(text: str) -> str:
            return as_plain_text(text, processor.tokenizer)

        begun = "".join(part if MARKS.match(part) else plain(part) for part in MARKS.split(request.answer_start))
        shown, said = [{"type": "image"} for _ in request.images], _text(plain(request.user))
        asked = shown + said if self._images == "first" else said + shown
        turns = [_turn("system", _text(request.system)), _turn("user", asked)]
        return _render(processor, turns, self._arguments) + self._closing + begun.removeprefix(self.opening)


def _turn(role: str, content: list[dict[str, str]]) -> dict[str, Any]:
    return {"role": role, "content": content}


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _render(processor: Any, turns: list[dict[str, Any]], arguments: dict[str, Any]) -> str:
    text: str = processor.apply_chat_template(turns, add_generation_prompt=True, **arguments)
    return text
