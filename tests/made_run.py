"""Whole run folders with pictures, made without a model: each edit is its source turned upside down."""

import hashlib
import json

from benchmark_file import make_picture, png_bytes
from PIL import ImageOps

from editbench.components.load import open_dataset
from editbench.config.load import load
from editbench.datasets.base import read_sources
from editbench.images import decode_rgb
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, Judgment
from editbench.run.shards import ShardWriter

JUDGE = "strict"


def write_folder(folder, rows):
    """A dataset of the kind `folder`: a picture and a line of metadata.jsonl for each row."""
    folder.mkdir(parents=True)
    lines = []
    for number, row in enumerate(rows):
        (folder / f"{number}.png").write_bytes(png_bytes(make_picture(number, (40, 30))))
        lines.append(json.dumps({"file_name": f"{number}.png", "instruction": f"Change picture {number}", **row}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_run(root, overrides, results):
    """Plan a dataset and fill in what became of each sample, in order.

    Args:
        root: The run folder.
        overrides: Hydra overrides that name the dataset.
        results: For each sample its score, or the state it ended in: `pending`, `edited`, `edit_failed`, `unparsed`.
    """
    config = load(["editor=fake", "judge=fake", f"judge.name={JUDGE}", f"run_dir={root}", "run_name=made", *overrides])
    run_dir = RunDir(root)
    run_dir.create()
    plan, dataset = ensure_plan(config, run_dir), open_dataset(config.dataset)
    run_dir.write_config(config.resolved)
    run_dir.write_config(config.resolved, JUDGE)
    shards, edits, judgments = ShardWriter(run_dir.edits, 2**20), JsonLines(run_dir.edits_index), None
    for sample, result in zip(plan.samples, results, strict=True):
        known = (sample.sample_id, sample.category)
        if result == "edit_failed":
            failed = {"error_type": "ValueError", "error": "no picture came back"}
            edits.append(Edit(*known, result, "unit", sample_input(sample), 7, **failed))
        elif result != "pending":
            png = png_bytes(ImageOps.flip(decode_rgb(read_sources(dataset, sample)[0])))
            digest = hashlib.sha256(png).hexdigest()
            shard, offset = shards.append(sample.key, png, b"{}")
            place = {"sha256": digest, "shard": shard, "offset": offset, "length": len(png)}
            sizes = {"source_width": 40, "source_height": 30, "width": 40, "height": 30}
            edits.append(Edit(*known, "edited", "unit", sample_input(sample), 7, 1.5, **sizes, **place))
            if result != "edited":
                judgments = judgments or JsonLines(run_dir.judgments_of(JUDGE))
                scored = not isinstance(result, str)
                said = {"score": result, "reply": f"Score: {result}"} if scored else {"reply": "hm"}
                judgments.append(Judgment(*known, "scored" if scored else result, "unit", digest, **said))
    for file in filter(None, (shards, edits, judgments)):
        file.close()
    return run_dir
