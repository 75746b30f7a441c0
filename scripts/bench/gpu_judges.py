"""Judges: seconds per image by mode and batch size, against the floor, and what preparing an image takes of the CPU."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from bench import gpu_floors
from bench.gpu_card import Card, is_late, left_out
from bench.gpu_floors import Prompt
from bench.measure import Row, row
from bench.pictures import make_picture
from bench.running import Settings
from editbench import images

SIDE, QUICK_SIDE = 1024, 128  # pixels
BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16), (1, 2)
NEW_TOKENS, QUICK_NEW_TOKENS = (1, 6, 128), (1, 6)  # of a reply; 1 is the single pass of mode expected
PROMPT = Prompt(tokens=1748, shared=604, patches=4096)
"""Counted with the real tokenizer: our rubrics, and an image of 1024 x 1024 pixels."""
QUICK_PROMPT = Prompt(tokens=96, shared=40, patches=64)
JUDGE_PIXELS = 2097152
WORD = " the"  # one token


def random_judgments(name: str, settings: Settings) -> list[Row]:
    """Seconds per image by mode and batch size, and what preparing one takes of the CPU."""
    from bench.random_models import ReadyJudge, judge_parts

    size = name.removeprefix("qwen3_vl_").upper().replace("_", "-")
    if is_late():
        return [left_out(f"Qwen3-VL-{size}")]
    card = Card.find(settings.quick)
    ready = judge_parts(name, card.quick, card.device)
    side, prompt = (QUICK_SIDE, QUICK_PROMPT) if card.quick else (SIDE, PROMPT)
    pngs = [images.encode_png(make_picture(number, side)) for number in range(4)]
    what = f"Qwen3-VL-{size} on {card.name}"
    rows = []
    for new_tokens in QUICK_NEW_TOKENS if card.quick else NEW_TOKENS:
        mode = "expected" if new_tokens == 1 else f"generate {new_tokens} tokens"
        judge = ReadyJudge(
            ready, card.device, dtype=card.dtype, max_new_tokens=new_tokens, max_image_pixels=JUDGE_PIXELS
        )
        asked = Asked(judge, prompt, pngs, new_tokens)
        if not rows:
            rows.append(_preparation_row(what, asked))
        for batch in QUICK_BATCHES if card.quick else BATCHES:
            label = f"{what}, {mode}, batch {batch}: an image"
            rows.append(left_out(label) if is_late() else _judgment_row(label, card, asked, batch))
    del ready, judge, asked
    card.free()
    return rows


class Asked:
    """A judge with requests of the wanted length in tokens.

    Args:
        judge: The judge.
        prompt: The lengths of a request.
        pngs: Pictures that take turns.
        new_tokens: Length of its replies; 1: mode `expected`.
    """

    def __init__(self, judge: Any, prompt: Prompt, pngs: Sequence[bytes], new_tokens: int) -> None:
        from editbench.config.schema import ANSWER_START
        from editbench.judges.base import Request

        self.judge, self.pngs, self.new_tokens = judge, pngs, new_tokens
        pictures = [images.decode_rgb(png) for png in pngs]
        self._request = Request(0, "", "", (pictures[0],))
        if new_tokens == 1:
            self._request = dataclasses.replace(self._request, answer_start=ANSWER_START, wanted="label")
        least = judge.prepare([self._request])
        words = prompt.shared - least.prefix
        self._system = WORD * words
        self._words = prompt.tokens - least.inputs["input_ids"].shape[1] - words
        self.prompt = Prompt(prompt.tokens, prompt.shared, len(least.inputs["pixel_values"]))

    def requests(self, count: int) -> list[Any]:
        """Decode PNGs and ask about them; of four requests each is a little shorter than the one before."""
        return [
            dataclasses.replace(
                self._request,
                index=index,
                system=self._system,
                user=WORD * (self._words - 4 * (index % 4)),
                images=(images.decode_rgb(self.pngs[index % len(self.pngs)]),),
            )
            for index in range(count)
        ]

    def answer(self, prepared: Any) -> Any:
        """Let the judge answer; the answer is on the CPU then."""
        if self.new_tokens == 1:
            return self.judge.label_probabilities(prepared, [str(digit) for digit in range(10)])
        return self.judge.reply(prepared)


def _preparation_row(what: str, asked: Asked) -> Row:
    """CPU seconds of all threads, so it does not matter how many there are."""
    batch = 4
    decode, prepare = [], []
    for _ in range(4):
        began = time.process_time()
        requests = asked.requests(batch)
        decoded = time.process_time()
        asked.judge.prepare(requests)
        decode.append((decoded - began) / batch)
        prepare.append((time.process_time() - decoded) / batch)
    whole = [a + b for a, b in zip(decode[1:], prepare[1:], strict=True)]
    note = f"PNG {min(decode) * 1000:.3g} ms, prompt and patches {min(prepare) * 1000:.3g} ms"
    return row(f"{what}: preparing an image, CPU time", "", whole, unit="s", note=note)


def _judgment_row(what: str, card: Card, asked: Asked, batch: int) -> Row:
    """Warm up and time one batch size; a reply of 128 tokens was warmed up by the shorter one of the same batch."""
    repeats = 1 if asked.new_tokens > 100 else 3
    card.forget_peak()
    prepared = asked.judge.prepare(asked.requests(batch))
    if repeats > 1:
        asked.answer(prepared)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        asked.answer(prepared)
        seconds.append((time.perf_counter() - began) / batch)
    began = time.perf_counter()
    asked.answer(asked.judge.prepare(asked.requests(batch)))
    from_png = (time.perf_counter() - began) / batch
    floor = gpu_floors.judge_floor_s(asked.judge._model.config, asked.prompt, card.rates, batch, asked.new_tokens)
    length, prompt = prepared.inputs["input_ids"].shape[1], asked.prompt
    counted = f"{length} tokens, {prepared.prefix} of them shared, {prompt.patches} patches"
    note = f"from PNG on one thread {from_png:.3g} s; {counted}; {card.memory()}"
    kind = "expected" if asked.new_tokens == 1 else "generate"
    published = gpu_floors.PUBLISHED_JUDGES["30B-A3B"][kind] if "30B-A3B" in what else ""
    return row(what, f"floor {floor:.3g} s", seconds, unit="s", note="; ".join(filter(None, [note, published])))
