"""What an OpenAI-compatible server is asked in a chat completion, and what its answer says.

Answers come from outside: whatever is not of the agreed form is a ValueError that says so, and nothing else.
"""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from editbench.config.schema import ANSWER_START
from editbench.images import encode_png
from editbench.judges.base import CUT_OFF, ImagesStand, Request
from editbench.text import WORD_JOINER, hide

THINKING = re.compile(r"(</?think(?:ing)?>)")
SPECIAL = re.compile(
    r"<(?=[|｜][^<>\s]{1,40}[|｜]>|/?(?:think(?:ing)?|tool_(?:call|response)|image|img|video|audio|s|bos|eos|pad|unk"
    r"|(?:start|end)_of_\w{1,20})>)|\[(?=/?(?:INST|IMG|TOOL_CALLS|AVAILABLE_TOOLS|SYSTEM_PROMPT|THINK)\])"
)
"""Where a special token of the known families of models begins; the server's tokenizer is not at hand here."""

NUMBER_TOKENS = 12
"""Room for `10.000/10` and what ends it, where only the number of a reply is lacking."""

LABEL_TOKENS = 8
"""Room for `Score: ` and a label, where the server cannot go on with a turn that is begun."""

CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}
"""Fields by which vLLM and SGLang go on with the last message; llama.cpp does so by itself."""

ROUNDING = 1e-3
"""By how much probabilities may sum to more than 1: some servers round their logarithms."""


class Likely(NamedTuple):
    """The likeliest tokens at one place, as the server gives them.

    Attributes:
        probabilities: Of each text that a token stands for, 0 to 1.
        tokens: How many tokens there are.
    """

    probabilities: dict[str, float]
    tokens: int


@dataclass(frozen=True)
class ChatSettings:
    """What of a request is the same for all samples; the judge's arguments of the same names have the meanings."""

    model: str
    prefill: bool
    max_new_tokens: int
    temperature: float
    top_logprobs: int
    images: ImagesStand
    more: dict[str, Any]

    def body(self, request: Request) -> dict[str, Any]:
        """A request as JSON; empty for what the server cannot be asked, to go on with a reply."""
        if request.wanted == "number" and not self.prefill:
            return {}
        prefilled = self.prefill and bool(request.answer_start)
        limits = {"number": NUMBER_TOKENS, "label": 1 if prefilled else LABEL_TOKENS}
        return self.filled_up(
            {
                "messages": messages(request, self.prefill, self.images),
                "max_tokens": limits.get(request.wanted, self.max_new_tokens),
                **(CONTINUE if prefilled else {}),
                **({"logprobs": True, "top_logprobs": self.top_logprobs} if request.wanted == "label" else {}),
            }
        )

    def drawn(self, body: dict[str, Any], seed: int) -> dict[str, Any]:
        """Have a reply drawn by a seed, which servers take as a positive number of 31 bits."""
        return {**body, "temperature": self.temperature, "seed": seed % 2**31}

    def filled_up(self, body: dict[str, Any]) -> dict[str, Any]:
        """Add what all requests have: the model, greedy decoding, and the user's own fields, null taking one away."""
        body = {"model": self.model, "temperature": 0, **body, **self.more}
        return {field: value for field, value in body.items() if value is not None}


def messages(request: Request, prefill: bool, images: ImagesStand = "first") -> list[dict[str, Any]]:
    """Lay a request out: system, then images and text in one turn, then the judge's own turn if it is begun.

    Args:
        request: The request.
        prefill: Whether the server can go on with a turn that is begun; if not, that is left out.
        images: Whether the images stand before the text or behind it.
    """
    said = [{"type": "text", "text": as_plain(request.user)}]
    shown = [{"type": "image_url", "image_url": {"url": _data_uri(image)}} for image in request.images]
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": request.system},
        {"role": "user", "content": shown + said if images == "first" else said + shown},
    ]
    if prefill and request.answer_start:
        turns.append({"role": "assistant", "content": begun(request)})
    return turns


def begun(request: Request) -> str:
    """What the judge's turn begins with; of its own special tokens only the marks of thinking count."""
    parts = THINKING.split(request.answer_start)
    return "".join(part if THINKING.match(part) else as_plain(part) for part in parts)


def as_plain(text: str) -> str:
    """Keep text from datasets text, as `text.as_plain_text` does with a tokenizer."""
    return SPECIAL.sub(lambda match: match.group() + WORD_JOINER, text)


def read_reply(answer: Any, start: str) -> str:
    """Return a reply behind its start, which some servers repeat; one that was cut off ends with `CUT_OFF`.

    Raises:
        ValueError: there is none, or the server held it back.
    """
    choice = _choice(answer)
    if choice.get("finish_reason") == "content_filter":
        raise ValueError("the server's content filter held the reply back")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if text is None and isinstance(message, dict):
        text = message.get("refusal") or ""  # without either, all went into thinking that the server keeps apart
    if not isinstance(message, dict) or not isinstance(text, str):
        raise ValueError(f"the server's answer holds no text: {_shown(choice)}")
    text = clean(text).removeprefix(start)
    marks = THINKING.findall(text)
    if marks and marks[0].startswith("</"):  # the prompt had opened it
        text = marks[0].replace("/", "") + text
    return text if choice.get("finish_reason") == "stop" else text + CUT_OFF


def read_likely(answer: Any, labels: Sequence[str], prefilled: bool) -> Likely:
    """Return the likeliest tokens where the label is to stand.

    That is the first token behind a prefill. Without one it is where the judge itself has written `Score: `, or its
    first token if that is a label; where it wrote anything else no token counts.

    Raises:
        ValueError: the answer holds no logarithms of probabilities, or what are none.
    """
    logprobs = _choice(answer).get("logprobs")
    places = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(places, list) or not places or not all(isinstance(place, dict) for place in places):
        raise ValueError("the server's answer holds no logprobs")
    if prefilled or places[0].get("token") in labels:
        return _likely(places[0], prefilled)
    written = ""
    for place in places:
        if written.strip() == ANSWER_START.strip() and str(place.get("token")).strip():
            return _likely(place, prefilled)
        written += str(place.get("token"))
    return Likely({}, 0)


def clean(text: str) -> str:
    """Text from a server as it can be written down: no half characters, and no key of ours."""
    return hide(text.encode(errors="replace").decode())


def _likely(place: dict[str, Any], prefilled: bool) -> Likely:
    top = place.get("top_logprobs")
    if not isinstance(top, list) or not top:
        raise ValueError("the server's answer holds no top_logprobs")
    found: dict[str, float] = {}
    for entry in top:
        given: dict[str, Any] = entry if isinstance(entry, dict) else {}
        token, logprob = given.get("token"), given.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float) or isinstance(logprob, bool):
            raise ValueError(f"the server gave what is no token with its logprob: {_shown(entry)}")
        text = token if prefilled else token.lstrip()  # some tokens bring the space with them
        found[text] = found.get(text, 0.0) + math.exp(min(max(logprob, -1e4), 1.0))
    mass = math.fsum(found.values())
    if not mass <= 1 + ROUNDING:  # NaN is not
        raise ValueError(f"the server gave logprobs whose probabilities sum to {mass:g}, more than 1")
    return Likely({text: p / max(mass, 1.0) for text, p in found.items()}, len(top))


def _choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError(f"the server's answer is no chat completion: {_shown(answer)}")
    return choices[0]


def _data_uri(image: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode('ascii')}"


def _shown(value: Any) -> str:
    return clean(repr(value)[:200])
