"""Baseline: the loop that accelerate's documentation gives for inference on several devices.

Every process reads the benchmark, edits its part of `split_between_processes`, saves its PNGs, and at the end all
results are gathered. Started by `bench/edit.py` under torchrun with its settings as JSON.
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image

from bench.stand_ins import TimedEditor


def main(benchmark: str, out: str, editor: dict[str, Any]) -> None:
    """Edit everything."""
    state = PartialState(cpu=not torch.cuda.is_available())  # without cpu=True it sees one process on a CPU machine
    model = TimedEditor(str(state.device), **editor)
    records = json.loads(Path(benchmark).read_text(encoding="utf-8"))
    results = []
    with state.split_between_processes(list(enumerate(records))) as mine:
        for number, record in mine:
            source = Image.open(io.BytesIO(base64.b64decode(record["src_img_b64"]))).convert("RGB")
            image = model.edit(source, record["edit_instruction_en"], number, lambda _done, _total: None)
            path = Path(out) / f"{number:05d}.png"
            image.save(path)
            results.append({"number": number, "path": str(path)})
    gathered = gather_object(results)
    if state.is_main_process:
        (Path(out) / "results.json").write_text(json.dumps(gathered))
    state.destroy_process_group()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
