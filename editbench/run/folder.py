"""Every path of a run, its plan, and who works in it.

The run folder is the contract between the phases and with users' scripts; docs/run-folder.md documents it.
"""

import dataclasses
import datetime
import functools
import itertools
import json
from pathlib import Path
from typing import Any

import yaml

from editbench.errors import UserError
from editbench.run.lines import read_json, read_lines, remove_left_over, write_atomic
from editbench.run.lock import hold
from editbench.run.records import Control, Edit, Judgment, Sample, to_dict
from editbench.run.sealed_json import seal_pieces, to_json, unseal_pieces
from editbench.run.shards import sample_end, shard_name
from editbench.run.tally import Tally

JUDGE_SECTIONS = ("judge", "rubrics", "protocol", "score")
"""Sections of the configuration that phase 2 uses and phase 1 does not."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        made_from: All that the plan depends on; while it is unchanged the plan is not made again.
        samples: In dataset order.
        skipped: Records left out as broken, each with index, id and problem (`dataset.on_bad_record=skip`).
    """

    made_from: dict[str, Any]
    samples: list[Sample]
    skipped: list[dict[str, Any]]


class RunDir:
    """The folder of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config_file = root / "config.yaml"
        self.plan_file = root / "plan.json"
        self.status_file = root / "status.json"
        self.sessions_file = root / "sessions.json"
        self.edits = root / "edits"
        self.edits_index = self.edits / "index.jsonl"
        self.judgments = root / "judgments"
        self.controls = self.judgments / "controls"
        self.logs = root / "logs"
        self.pictures = root / "pictures.jsonl"
        self.thumbs = root / "thumbs"

    def create(self) -> Path:
        """Make the folders that are not there; any number of ranks may do so at once.

        Returns:
            The folder for logs.

        Raises:
            UserError: the place cannot be written to.
        """
        try:
            for folder in (self.edits, self.judgments, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            return self.logs
        except OSError as error:
            raise UserError(f"run_dir={self.root}: cannot be made ({error.strerror}); choose another") from error

    def lock(self, phase: str) -> None:
        """Hold the run folder until this process ends, however it ends.

        Raises:
            UserError: another process holds it; says which.
        """
        self._lock = hold(self.root, f"phase {phase}")
        for folder in (self.root, self.judgments):
            remove_left_over(folder)

    def judgments_of(self, judge: str) -> Path:
        """File with the judgments of the judge of this name."""
        return self.judgments / f"{judge}.jsonl"

    def controls_of(self, judge: str) -> Path:
        """File with what the judge of this name said of controls."""
        return self.controls / f"{judge}.jsonl"

    def read_plan(self) -> Plan | None:
        """Read the plan, a sample at a time; None if there is none yet.

        Raises:
            UserError: it is not what was written: a sample was changed, dropped, doubled or moved.
        """
        if not self.plan_file.exists():
            return None
        try:
            with self.plan_file.open("rb") as file:
                lines = unseal_pieces(file)
                head = json.loads(next(lines) + b"]}")
                samples = [Sample(**json.loads(line.rstrip(b",\n"))) for line in lines if line[:1] == b"{"]
                return Plan(head["made_from"], samples, head["skipped"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.plan_file} is no plan, or no longer the one that was written ({error}); restore it, or remove "
                "it and start the edit phase again, which keeps the edits that fit (those of an "
                "earlier version of editbench need on_change=redo)"
            ) from error

    def write_plan(self, plan: Plan) -> None:
        """Write the plan as JSON, one sample a line, under one checksum."""
        head = to_json({"made_from": plan.made_from, "skipped": plan.skipped})[:-1] + b', "samples": [\n'
        lines = ((b",\n" if sample.index else b"") + to_json(to_dict(sample)) for sample in plan.samples)
        write_atomic(self.plan_file, seal_pieces(itertools.chain([head], lines, [b"\n]"])))

    def read_config(self, judge: str | None = None) -> dict[str, Any]:
        """Read the resolved configuration of the last start, or what of it the judge of this name last had.

        Returns:
            The configuration; empty if there was no such start.
        """
        path = self.config_file if judge is None else self.judgments / f"{judge}.yaml"
        if not path.exists():
            return {}
        return _read_yaml(path)

    def write_config(self, resolved: dict[str, Any], judge: str | None = None) -> None:
        """Write the resolved configuration; what only the other phase uses stays as that phase had it.

        Args:
            resolved: The configuration.
            judge: The judge's name if phase 2 starts; what it uses is kept for each judge.
        """
        kept = {key: v for key, v in self.read_config().items() if (key in JUDGE_SECTIONS) == (judge is None)}
        _write_yaml(self.config_file, {**resolved, **kept})
        if judge is not None:
            _write_yaml(
                self.judgments / f"{judge}.yaml", {key: resolved[key] for key in JUDGE_SECTIONS if key in resolved}
            )

    def read_edits(self) -> dict[str, Edit]:
        """Read the latest edit of each sample."""
        return {edit.sample_id: edit for edit in read_lines(self.edits_index, Edit)}

    def lost_images(self, edits: dict[str, Edit]) -> set[str]:
        """Ids of edited samples whose shard is gone or too short to hold the image."""

        @functools.cache
        def size(shard: int) -> int:
            path = self.edits / shard_name(shard)
            return path.stat().st_size if path.exists() else 0

        return {
            edit.sample_id
            for edit in edits.values()
            if edit.shard is not None
            and edit.offset is not None
            and edit.offset + (edit.length or 0) > size(edit.shard)
        }

    def committed_shard_end(self) -> tuple[int, int] | None:
        """Where images are to be appended, as (shard, byte); None if the index names none.

        That is the end of the last image that the index names. Where that shard has been lost or cut, it is where a new
        one begins, so that no line of the index ever names the place of another image.
        """
        last = max(
            (
                (edit.shard, sample_end(edit.offset, edit.length))
                for edit in read_lines(self.edits_index, Edit)
                if edit.shard is not None and edit.offset is not None and edit.length is not None
            ),
            default=None,
        )
        if last is None:
            return None
        path = self.edits / shard_name(last[0])
        return last if path.exists() and path.stat().st_size >= last[1] else (last[0] + 1, 0)

    def read_judgments(self, judge: str) -> dict[str, Judgment]:
        """Read the latest judgment of each sample."""
        return {judgment.sample_id: judgment for judgment in read_lines(self.judgments_of(judge), Judgment)}

    def read_controls(self, judge: str) -> dict[tuple[str, str], Control]:
        """Read the latest judgment of each control, by sample id and kind."""
        return {(c.sample_id, c.control): c for c in read_lines(self.controls_of(judge), Control)}

    def read_sessions(self) -> list[dict[str, Any]]:
        """Read what is on record of every start of a phase, oldest first."""
        if not self.sessions_file.exists():
            return []
        data = read_json(self.sessions_file)
        if not isinstance(data, dict) or not isinstance(data.get("sessions"), list):
            raise UserError(
                f"{self.sessions_file} holds no list of sessions; remove it (times and models are lost with it)"
            )
        return list(data["sessions"])

    def write_status(self, tally: Tally, state: str) -> None:
        """Tell scripts and people where the run stands."""
        counts = {"done": tally.done, "failed": tally.failed, "total": tally.total}
        status = {"phase": tally.phase, "state": state, **counts, "time": utc_now()}
        write_atomic(self.status_file, json.dumps(status) + "\n")

    def write_session(self, session: dict[str, Any]) -> None:
        """Add a start of a phase, or replace the entry that has the same `started` and `phase`."""
        start = (session["started"], session["phase"])
        others = [s for s in self.read_sessions() if (s["started"], s["phase"]) != start]
        text = json.dumps({"sessions": [*others, session]}, indent=1, ensure_ascii=False)
        write_atomic(self.sessions_file, text + "\n")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no YAML ({reason}); remove it and start the phase again") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no settings; remove it and start the phase again")
    return config


def _write_yaml(path: Path, data: dict[str, Any]) -> None:
    write_atomic(path, yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=110))


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
