"""What can be set, with types, limits and meanings: plain dataclasses, filled in by `load.py`.

The values that hold if nothing is said are in `conf/`; a default here is for what a YAML of one's own may leave out.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from editbench.config.annotations import Count, CountOrZero, Rule
from editbench.config.protocol import ProtocolConfig

AutoOrCount = Literal["auto"] | Count
Fraction = Annotated[float, Rule(lambda number: 0 <= number <= 1, "a fraction from 0 to 1")]
Positive = Annotated[float, Rule(lambda number: number > 0, "a number above 0")]
Name = Annotated[
    str, Rule(lambda text: bool(re.fullmatch(r"[\w\-][\w.\-]*", text)), "letters, digits, . _ - (not . at the start)")
]
"""What can be the name of a folder or file everywhere; `..` cannot."""


def _is_template(text: str) -> bool:
    found = set(re.findall(r"\{(\w*)\}", text))
    return "edit_instruction" in found and found <= {"edit_instruction", "original_description"}


Template = Annotated[str, Rule(_is_template, "a text with {edit_instruction}, and {original_description} if wanted")]
DeviceIds = Annotated[
    list[CountOrZero],
    Rule(lambda ids: 0 < len(ids) == len(set(ids)), "a list of different numbers from 0: 'device_ids=[…]'"),
]
Labels = Annotated[
    dict[str, float],
    Rule(
        lambda labels: len(labels) > 1 and all(0 <= score <= 10 for score in labels.values()),
        "null or two labels and more, each with its score from 0 to 10: 'judge.labels={1:0,2:5,3:10}'",
    ),
]


def _are_formats(names: list[str]) -> bool:
    from PIL import Image

    Image.init()
    return bool(names) and all(name.upper() in {*Image.OPEN, "AVIF"} for name in names)


Formats = Annotated[
    list[str], Rule(_are_formats, "a list of formats that Pillow reads, such as 'source.formats=[PNG]'")
]

ANSWER_START = "Score: "
"""What stands before the label in mode `expected`, and behind a reply without a score. Part of a judgment's unit."""


@dataclass
class EditConfig:
    """Phase 1's loop."""

    schedule: Literal["strided", "dynamic"] = "strided"
    """Who edits what: `strided`: rank r of n every n-th sample from r on; `dynamic`: each rank the next one that
    nobody has, which is quicker where images or GPUs are unequal. The edited images are the same."""
    sync_every: CountOrZero = 1
    """`dist.barrier()` after so many rounds (a round is one image per rank, or its beginning where an editor is asked
    for several at a time); 0: only at the end of the phase, as always with schedule=dynamic, which has no rounds."""
    max_concurrent_loads: Count = 8
    """Ranks of a node that load the editor at the same time; fewer where host memory is short, which a load needs for
    weights that are quantized or converted to another dtype."""
    shard_size_mib: Count = 256
    """A shard is closed when it has grown past this size, in MiB."""


@dataclass
class ScoreConfig:
    """What phase 2 judges beside the samples' edits."""

    controls: CountOrZero = 0
    """Of so many samples, spread evenly over the categories, the judge also judges controls: the unchanged source, a
    black image, noise, another sample's edit, the edit under another sample's instruction, the edit once more, and
    with `judge.compare_with_original` the edit before its source. They tell whether the judge can tell, and never
    enter a mean."""


@dataclass
class SourceConfig:
    """What is accepted from a dataset; a sample beyond it fails alone."""

    max_megapixels: Positive = 100.0
    """Largest source image, in millions of pixels; checked before it is decoded."""
    max_mib: Positive = 100.0
    """Largest source image file, in MiB."""
    formats: Formats = field(default_factory=lambda: ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
    """Formats of source image files, by Pillow's names; JPEG covers MPO, AVIF counts where this Pillow reads it."""
    max_instruction_chars: Count = 10_000
    """Longest instruction, in characters."""


@dataclass
class DistributedConfig:
    """The process group."""

    timeout_s: Count = 1800
    """Seconds without a sign of a rank after which the job fails and names it; must exceed the longest edit or batch,
    and `edit.sync_every` edits."""
    cpu_threads: Count = 1
    """Threads per process on a CPU. The last bits of a result can depend on it, so it is never left to the
    number of processes."""


@dataclass
class ReportConfig:
    """What the report holds beside the numbers that it always has."""

    pictures: bool = True
    """Whether edits are compared with their sources pixel by pixel, and thumbnails made; on the CPU, once for each."""
    bootstrap: bool = False
    """Whether intervals are also made by resampling source images, 10,000 times: seconds for thousands of samples."""
    published: bool = False
    """Whether figures that others have published stand beside those of the protocol."""
    single_file: bool = False
    """Whether report.html holds the thumbnails too, to be passed on as a single file; else they lie in thumbs/."""


@dataclass
class RubricConfig:
    """What the judge is told for one category."""

    names: list[str]
    """Names in dataset files that mean this category."""
    title: str
    """What is judged, for people."""
    system_prompt: str
    """In a `Config` with the answer text of `judge.mode` behind it, as the judge gets it."""
    user_template: Template
    """With {original_description} and {edit_instruction}; the judge sees the edited image."""
    user_template_with_source: Template
    """The same for `judge.compare_with_original=true`; the judge sees the source, then the edited image."""
    criteria: str = ""
    """A part of the system prompt, which names its place as `${.criteria}`: what is particular to this category, where
    several share the rest."""
    answer: str = ""
    """The form of the answer in mode `generate`; empty: the system prompt says it itself."""
    answer_label: str = ""
    """The form of the answer in mode `expected`: one of `judge.labels`."""


@dataclass
class ComponentConfig:
    """Settings of a component, which is a dataset, editor or judge: its class and the arguments of its constructor."""

    target: str
    name: Name
    kwargs: dict[str, Any]


@dataclass
class JudgeConfig(ComponentConfig):
    """The judge, and how phase 2 feeds it."""

    mode: Literal["generate", "expected"] = "generate"
    """`generate`: the score is read from a reply; `expected`: it is the mean of the labels by their probability as the
    next token, from one forward pass."""
    labels: Labels = field(default_factory=lambda: {str(digit): float(digit) for digit in range(10)})
    """Of mode `expected`: score of each label, 0 to 10; each label is one token of the judge."""
    min_label_mass: Annotated[float, Rule(lambda mass: 0 < mass <= 1, "more than 0, at most 1")] = 0.5
    """Of mode `expected`: with less than this probability on all labels together there is no score; 0 to 1."""
    repeats: Count = 1
    """Of mode `generate`, with `judge.temperature` above 0: each sample is judged so many times with seeds of its own;
    its score is their mean."""
    batch_size: AutoOrCount = "auto"
    """Samples per batch; auto: by the GPU's memory."""
    complete_replies: bool = True
    """Of mode `generate`: whether a reply that holds no score is completed by the judge itself, behind `Score: `."""
    compare_with_original: bool = False
    """Whether the judge sees the source image before the edited one."""
    devices_per_replica: AutoOrCount = "auto"
    """GPUs one copy of the judge is spread over; auto: as few as it fits on."""
    max_concurrent_loads: Count = 8
    """Ranks of a node that load the judge at the same time; as `edit.max_concurrent_loads`."""

    @property
    def is_sampling(self) -> bool:
        """Whether the judge draws its replies, and is therefore given seeds (its argument `temperature` is above 0)."""
        return bool(self.kwargs.get("temperature"))


@dataclass(kw_only=True)
class Config:
    """A run."""

    run_name: Name
    run_dir: Path
    """Folder of the run; the phases meet there."""
    seed: int
    """The run's seed; each sample's own is made from it and the sample's id."""
    categories: Annotated[list[str], Rule(lambda names: len(names) > 0, "a list of names: 'categories=[…]'")] | None
    """Only these categories, by any of their names; None: all."""
    limit: Count | None
    """Only the first so many samples; None: all."""
    max_failed: Fraction
    """A phase stops when more than this fraction of the planned samples has failed in it, 0 to 1."""
    retry_failed: bool
    """Whether samples that failed in an earlier start are tried again."""
    on_change: Literal["stop", "redo"]
    """When results made with other settings are found: `stop`, or `redo` those."""
    dry_run: bool
    """Print the plan and load nothing."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    """What rank 0 shows on the console; the log files hold everything."""
    device_ids: DeviceIds | None
    """CUDA device of each local rank, as visible to the process; None: local rank r has device r."""
    source: SourceConfig
    edit: EditConfig
    score: ScoreConfig = field(default_factory=ScoreConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    distributed: DistributedConfig
    dataset: ComponentConfig
    editor: ComponentConfig
    judge: JudgeConfig
    metric: ComponentConfig | None = None
    """What measures edits beside the judge, from the pictures alone, in the report phase; None: nothing."""
    tracker: ComponentConfig | None = None
    """Where the report phase also sends what it finds; None: nowhere."""
    rubrics: dict[str, RubricConfig]
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    """Under which criteria edits are judged, and how that makes scores."""
    resolved: dict[str, Any]
    """The whole configuration as plain data without secrets, for config.yaml and the report."""
    chosen: frozenset[str] = frozenset()
    """Which of `judge` and `metric` the command line chooses; `config/chosen.py` tells how."""

    @property
    def judge_sees_source(self) -> bool:
        """Whether the judge is shown any source image beside the edits."""
        shown = [criterion.images == "source_and_edit" for criterion in self.protocol.criteria.values()]
        return any(shown) if shown else self.judge.compare_with_original

    @property
    def judge_reads_dataset(self) -> bool:
        """Whether the judge is shown anything that the dataset holds."""
        return self.judge_sees_source or any(criterion.reference for criterion in self.protocol.criteria.values())
