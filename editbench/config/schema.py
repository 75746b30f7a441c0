"""What can be set, with types and meanings: plain dataclasses, filled in by `config.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING


@dataclass
class EditConfig:
    """Phase 1's loop."""

    schedule: str = "strided"
    """Who edits what: `strided`: rank r of n every n-th sample from r on; `dynamic`: each rank the next one that
    nobody has, which is quicker where images or GPUs are unequal. The edited images are the same."""
    sync_every: int = 1
    """`dist.barrier()` after so many rounds (a round is one image per rank); 0: only at the end of the phase, as
    always with schedule=dynamic, which has no rounds."""
    max_concurrent_loads: Any = "auto"
    """Ranks of a node that load the editor at the same time; auto: as many as host memory takes."""
    shard_size_mib: int = 256
    """A shard is closed when it has grown past this size, in MiB."""


@dataclass
class SourceConfig:
    """What is accepted from a dataset; a sample beyond it fails alone."""

    max_megapixels: float = 100.0
    """Largest source image, in millions of pixels; checked before it is decoded."""
    max_mib: float = 100.0
    """Largest source image file, in MiB."""
    formats: list[str] = field(default_factory=lambda: ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
    """Formats of source image files, by Pillow's names; JPEG covers MPO, AVIF counts where this Pillow reads it."""
    max_instruction_chars: int = 10_000
    """Longest instruction, in characters."""


@dataclass
class DistributedConfig:
    """The process group."""

    timeout_s: int = 1800
    """Seconds without a sign of a rank after which the job fails and names it; must exceed the longest edit or batch,
    and `edit.sync_every` edits."""
    cpu_threads: int = 1
    """Threads per process on a CPU. The last bits of a result can depend on it, so it is never left to the
    number of processes."""


@dataclass
class RubricConfig:
    """What the judge is told for one category."""

    names: list[str] = MISSING
    """Names in dataset files that mean this category."""
    title: str = MISSING
    """What is judged, for people."""
    system_prompt: str = MISSING
    """In a `Config` with the answer text of `judge.mode` behind it, as the judge gets it."""
    answer: str = ""
    """The form of the answer in mode `generate`; empty: the system prompt says it itself."""
    answer_label: str = ""
    """The form of the answer in mode `expected`: one of `judge.labels`."""
    user_template: str = MISSING
    """With {original_description} and {edit_instruction}; the judge sees the edited image."""
    user_template_with_source: str = MISSING
    """The same for `judge.compare_with_original=true`; the judge sees the source, then the edited image."""


@dataclass
class ComponentConfig:
    """A dataset, editor or judge: its class, and the keyword arguments its constructor gets."""

    target: str
    name: str
    kwargs: dict[str, Any]


@dataclass
class JudgeConfig(ComponentConfig):
    """The judge, and how phase 2 feeds it."""

    mode: str = "generate"
    """`generate`: the score is read from a reply; `expected`: it is the mean of the labels by their probability as the
    next token, from one forward pass."""
    labels: dict[str, float] = field(default_factory=lambda: {str(digit): float(digit) for digit in range(10)})
    """Of mode `expected`: score of each label, 0 to 10; each label is one token of the judge."""
    min_label_mass: float = 0.5
    """Of mode `expected`: with less than this probability on all labels together there is no score; 0 to 1."""
    batch_size: int | str = "auto"
    """Samples per batch; auto: by the GPU's memory."""
    max_retries: int = 1
    """How often a reply that holds no score is asked again."""
    compare_with_original: bool = False
    """Whether the judge sees the source image before the edited one."""
    devices_per_replica: int | str = "auto"
    """GPUs one copy of the judge is spread over; auto: as few as it fits on."""
    max_concurrent_loads: int | str = "auto"
    """Ranks of a node that load the judge at the same time; auto: as many as host memory takes."""


@dataclass
class Schema:
    """Types of all keys as Hydra checks them; `Config` is the same after checks."""

    run_name: str = MISSING
    run_dir: str = MISSING
    seed: int = 42
    categories: Any = None
    limit: Any = None
    max_failed: float = 0.2
    retry_failed: bool = False
    on_change: str = "stop"
    dry_run: bool = False
    log_level: str = "INFO"
    device_ids: Any = None
    source: SourceConfig = field(default_factory=SourceConfig)
    edit: EditConfig = field(default_factory=EditConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    dataset: Any = MISSING
    editor: Any = MISSING
    judge: Any = MISSING
    rubrics: dict[str, RubricConfig] = field(default_factory=dict)


@dataclass
class Config:
    """A run."""

    run_name: str
    run_dir: Path
    """Folder of the run; the phases meet there."""
    seed: int
    """The run's seed; each sample's own is made from it and the sample's id."""
    categories: list[str] | None
    """Only these categories, by any of their names; None: all."""
    limit: int | None
    """Only the first so many samples; None: all."""
    max_failed: float
    """A phase stops when more than this fraction of the planned samples has failed in it, 0 to 1."""
    retry_failed: bool
    """Whether samples that failed in an earlier start are tried again."""
    on_change: str
    """When results made with other settings are found: `stop`, or `redo` those."""
    dry_run: bool
    """Print the plan and load nothing."""
    log_level: str
    """What rank 0 shows on the console; the log files hold everything."""
    device_ids: list[int] | None
    """CUDA device of each local rank, as visible to the process; None: local rank r has device r."""
    source: SourceConfig
    edit: EditConfig
    distributed: DistributedConfig
    dataset: ComponentConfig
    editor: ComponentConfig
    judge: JudgeConfig
    rubrics: dict[str, RubricConfig]
    resolved: dict[str, Any]
    """The whole configuration as plain data without secrets, for config.yaml and the report."""
