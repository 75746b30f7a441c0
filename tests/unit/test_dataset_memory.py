"""The claim of `datasets/json_file.py`: a rank's memory follows the largest record, not the size of the file."""

import re

from running import run_python

RECORD_BYTES = 2**20

# What a rank of phase 1 does with the file: make the plan, then read the records of its own share one at a time.
RANK = """
import resource, sys
from pathlib import Path
from editbench.config.load import load
from editbench.plan import ensure_plan
from editbench.components.load import open_dataset
from editbench.run.folder import RunDir

config = load(["editor=fake", "judge=fake", f"dataset.path={sys.argv[1]}", f"run_dir={sys.argv[1]}.run"])
plan = ensure_plan(config, RunDir(config.run_dir))
dataset = open_dataset(config.dataset)
read = [len(dataset.read(sample.locator)) for sample in plan.samples[::2]]
print("samples", len(plan.samples), "read", len(read), "bytes", sum(read))
# Linux counts the parent's memory at the fork into ru_maxrss, but not into VmHWM.
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peaks = [line.split()[1] for line in lines if line.startswith("VmHWM")]
print("peak", *(peaks or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def write(path, count):
    """`count` records of 1 MiB, in categories and texts as real files have them."""
    payload = "iVBO" * (RECORD_BYTES // 4)
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            file.write("[" if i == 0 else ",\n")
            file.write(
                f'{{"subset": "物理", "original_description_en": "Picture {i}", "edit_instruction_en": "Change {i}", '
                f'"src_img_b64": "{payload}", "original_image_path": "images/{i:05d}.png"}}'
            )
        file.write("]")


def peak_of_a_rank(path, count):
    """Peak resident memory in KiB (on Linux) of a process that plans the file and reads every second record."""
    write(path, count)
    outcome = run_python(["-c", RANK, str(path)], path.parent)
    assert outcome.code == 0, outcome.tail
    decoded = RECORD_BYTES * 3 // 4
    assert f"samples {count} read {count // 2} bytes {count // 2 * decoded}" in outcome.output
    path.unlink()
    return int(re.search(r"peak (\d+)", outcome.output).group(1))


def test_with_20_times_as_many_records_a_rank_s_peak_memory_stays_within_10_percent(tmp_path):
    few = peak_of_a_rank(tmp_path / "few.json", 10)
    many = peak_of_a_rank(tmp_path / "many.json", 200)
    print(f"peak of a rank: {few / 1024:.1f} MiB with 10 records of 1 MiB, {many / 1024:.1f} MiB with 200")
    assert many <= 1.10 * few
