"""A run for a notebook: its records as plain rows, its pictures as PIL images.

    from editbench import load_run
    run = load_run("runs/mine")

Loads no torch, and reads a picture when it is asked for. docs/export.md shows more.
"""

import dataclasses
import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from editbench.analysis.outcomes import counting
from editbench.config.load import check_sources
from editbench.config.schema import ComponentConfig
from editbench.datasets.sources import Sources
from editbench.errors import UserError
from editbench.images import side_by_side
from editbench.results import Results, find_run, judges_of, only_judge, read_results
from editbench.run.records import Edit, Judgment, Sample, to_dict
from editbench.run.shards import read_image

_KNOWN = ("sample_id", "category", "state")
"""Fields of edits and judgments that a row has under their own names."""

Row = dict[str, Any]


@dataclass(frozen=True)
class LoadedRun:
    """A run as one of its judges sees it.

    Attributes:
        results: What is on record.
    """

    results: Results

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.results.folder.root

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def judge(self) -> str | None:
        """Name of the judge; None if nothing has been judged."""
        return self.results.judge or None

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, without secrets."""
        return self.results.folder.read_config()

    @property
    def plan(self) -> list[Row]:
        """A row for each planned sample, with the fields of `Sample`; all rows here are in the plan's order."""
        return [to_dict(sample) for sample in self.results.plan.samples]

    @property
    def edits(self) -> list[Row]:
        """A row for the latest edit of each planned sample that has one, with the fields of `Edit`."""
        return self._of_planned(self.results.edits)

    @property
    def judgments(self) -> list[Row]:
        """A row for the latest judgment of each planned sample that has one, with the fields of `Judgment`."""
        return self._of_planned(self.results.judgments)

    @functools.cached_property
    def samples(self) -> list[Row]:
        """A row for each planned sample with all columns: what it is, what became of it, its edit, its judgment.

        Fields of the dataset begin with `extra_`, those of the edit with `edit_` and of the judgment with `judge_`;
        they are None where there is none that counts.
        """
        return [
            self._row(sample, o) for sample, o in zip(self.results.plan.samples, self.results.outcomes, strict=True)
        ]

    def edited(self, sample_id: str) -> Image.Image:
        """Read the edited image of a sample, mode RGB.

        Raises:
            UserError: there is no such sample.
            ValueError: it has no edited image, or that cannot be read.
        """
        with Image.open(io.BytesIO(self.edited_png(sample_id)), formats=["PNG"]) as picture:
            picture.load()
        return picture

    def edited_png(self, sample_id: str) -> bytes:
        """Read the edited image of a sample as the bytes of its PNG file; raises what `edited` does."""
        sample = self._sample(sample_id)
        edit, _ = counting(sample, self.results.edits.get(sample_id), None)
        if not (edit and edit.sha256) or edit.shard is None or edit.offset is None or edit.length is None:
            raise ValueError(f"the sample {sample_id!r} has no edited image")
        return read_image(self.results.folder.edits, edit.shard, edit.offset, edit.length, edit.sha256)

    def source(self, sample_id: str) -> Image.Image:
        """Read the source image of a sample, the first of several; see `sources`."""
        return self.sources(sample_id)[0]

    def sources(self, sample_id: str) -> list[Image.Image]:
        """Read the source images of a sample from the run's dataset, mode RGB, upright; in a chain the edit before.

        Raises:
            UserError: there is no such sample, or no dataset where the run had it.
            ValueError: it cannot be read, or is no longer the planned one.
        """
        sample = self._sample(sample_id)
        return [self.edited(sample.follows)] if sample.follows else self._sources.read(sample)

    def side_by_side(self, sample_id: str) -> Image.Image:
        """Put all source images in order and then the edited one in a row, at the height of the edited one."""
        edited = self.edited(sample_id)
        return side_by_side([*self.sources(sample_id), edited], edited.height)

    @functools.cached_property
    def _sources(self) -> Sources:
        dataset, limits = check_sources(self.config)
        planned = self.results.plan.made_from.get("dataset")  # with whole paths, and whatever later starts named
        return Sources(ComponentConfig(planned["class"], "dataset", planned["kwargs"]) if planned else dataset, limits)

    def _sample(self, sample_id: str) -> Sample:
        sample = self.results.samples.get(sample_id)
        if sample is None:
            raise UserError(f"{self.folder} has no sample {sample_id!r}; the column sample_id of its plan lists them")
        return sample

    def _of_planned(self, records: dict[str, Edit] | dict[str, Judgment]) -> list[Row]:
        return [to_dict(records[sample_id]) for sample_id in self.results.samples if sample_id in records]

    def _row(self, sample: Sample, outcome: Row) -> Row:
        sample_id = sample.sample_id
        edit, judgment = counting(sample, self.results.edits.get(sample_id), self.results.judgments.get(sample_id))
        planned = to_dict(sample)
        extra = planned.pop("extra")
        del planned["locator"]
        said = {name: outcome[name] for name in ("state", "score", "answered", "error_type", "error")}
        return {
            **planned,
            **said,
            **_prefixed("edit", Edit, edit),
            "judge": self.judge,
            **_prefixed("judge", Judgment, judgment),
            **{f"extra_{name}": value for name, value in extra.items()},
        }


def load_run(run: str | Path, judge: str | None = None) -> LoadedRun:
    """Read what is on record of a finished or running run.

    Args:
        run: Its folder, or its name under `runs/`.
        judge: Whose judgments count; None: those of its only judge, or of none if nothing has been judged.

    Raises:
        UserError: there is no such run, one of its files is damaged, or the judge must be chosen.
    """
    folder = find_run(str(run))
    return LoadedRun(read_results(folder, judge or (only_judge(folder) if judges_of(folder) else "")))


def _prefixed(prefix: str, kind: type[Edit] | type[Judgment], record: Edit | Judgment | None) -> Row:
    names = [field.name for field in dataclasses.fields(kind) if field.name not in _KNOWN]
    values = to_dict(record) if record else {}
    return {f"{prefix}_{name}": values.get(name) for name in names}
