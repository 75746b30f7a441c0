"""Baseline: the original design, one process with a thread per device and a model switch per category.

For each category: load the editor on every device, one device after the other; edit in batches of one image per
device, all threads waiting for the slowest; save the batch's PNGs one by one; drop the editors, load the judge, score
one by one, drop it. Prints a line of JSON; started by `bench/edit.py` with its settings as JSON.
"""

import base64
import io
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch  # noqa: F401  (not used here, but every such design loads it, and so do the other two)
from PIL import Image

from bench.stand_ins import TimedEditor, TimedJudge
from editbench.judges.base import Request


def main(benchmark: str, out: str, devices: int, editor: dict[str, Any], judge_load_s: float) -> None:
    """Edit and score everything."""
    records = json.loads(Path(benchmark).read_text(encoding="utf-8"))
    switching_s = {"editor": 0.0, "judge": 0.0}
    loads = {"editor": 0, "judge": 0}
    for _, group in itertools.groupby(enumerate(records), key=lambda item: item[1]["subset"]):
        category = list(group)
        began = time.perf_counter()
        editors = [TimedEditor(f"cuda:{device}", **editor) for device in range(devices)]
        loads["editor"] += 1
        switching_s["editor"] += time.perf_counter() - began
        edited: dict[int, Image.Image] = {}
        with ThreadPoolExecutor(devices) as threads:
            for start in range(0, len(category), devices):
                batch = category[start : start + devices]
                results = list(threads.map(_edit, editors, batch))
                for (number, _), image in zip(batch, results, strict=False):
                    image.save(Path(out) / f"{number:05d}.png")
                    edited[number] = image
        del editors
        began = time.perf_counter()
        judge = TimedJudge(["cuda:0"], editor["log"], judge_load_s)
        loads["judge"] += 1
        switching_s["judge"] += time.perf_counter() - began
        for number, record in category:
            judge.reply(judge.prepare([Request(number, "", record["edit_instruction_en"], (edited[number],))]))
        del judge
    print(json.dumps({"loads": loads, "switching_s": switching_s}))


def _edit(editor: TimedEditor, item: tuple[int, dict[str, Any]]) -> Image.Image:
    number, record = item
    source = Image.open(io.BytesIO(base64.b64decode(record["src_img_b64"]))).convert("RGB")
    return editor.edit(source, record["edit_instruction_en"], number, lambda _done, _total: None)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
