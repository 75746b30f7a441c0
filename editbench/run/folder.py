"""Every path of a run, its plan, and who works in it.

The run folder is the contract between the phases and with users' scripts; the README documents it.
"""

import dataclasses
import datetime
import fcntl
import itertools
import json
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from editbench.errors import UserError
from editbench.run.lines import read_json, read_lines, write_atomic
from editbench.run.records import Edit, Judgment, Sample, to_dict
from editbench.run.shards import sample_end, shard_name

JUDGE_SECTIONS = ("judge", "rubrics")
"""Sections of the configuration that phase 2 uses and phase 1 does not."""

SAMPLES_FOLLOW = ' "samples": [\n'
"""The line of plan.json behind which each line is a sample."""

logger = logging.getLogger(__name__)


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
        self.config = root / "config.yaml"
        self.plan = root / "plan.json"
        self.status = root / "status.json"
        self.sessions = root / "sessions.json"
        self.edits = root / "edits"
        self.edits_index = self.edits / "index.jsonl"
        self.judgments = root / "judgments"
        self.logs = root / "logs"

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
        self._lock = (self.root / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            raise UserError(
                f"{self.root} is in use by {self._lock.read().strip() or 'another process'}; wait until it has ended, "
                "or give another run_name"
            ) from error
        except OSError as error:  # file systems without locks
            logger.warning("%s cannot be locked (%s); do not start two phases on it at once", self.root, error.strerror)
        job = f", Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
        self._lock.truncate(0)
        self._lock.write(f"phase {phase}, process {os.getpid()} on {platform.node()}{job}, since {utc_now()}\n")
        self._lock.flush()

    def judgments_of(self, judge: str) -> Path:
        """File with the judgments of the judge of this name."""
        return self.judgments / f"{judge}.jsonl"

    def read_plan(self) -> Plan | None:
        """Read the plan, a sample at a time; None if there is none yet."""
        if not self.plan.exists():
            return None
        try:
            with self.plan.open(encoding="utf-8") as file:
                lines = iter(file)
                head = "".join(_until(SAMPLES_FOLLOW, lines))
                facts = json.loads(f"{head.rstrip().removesuffix(',')}}}")
                inner = filter(str.strip, _until("]}\n", lines))
                samples = [Sample(**json.loads(line.rstrip().removesuffix(","))) for line in inner]
                return Plan(facts["made_from"], samples, facts["skipped"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.plan} is no plan ({error!r}); remove it and start the edit phase again") from error

    def write_plan(self, plan: Plan) -> None:
        """Write the plan as JSON, one sample a line."""
        head = json.dumps({"made_from": plan.made_from, "skipped": plan.skipped}, ensure_ascii=False, indent=1)
        lines = (json.dumps(to_dict(sample), ensure_ascii=False) for sample in plan.samples)
        separated = (f",\n{line}" if number else line for number, line in enumerate(lines))
        write_atomic(self.plan, itertools.chain([f"{head[:-2]},\n{SAMPLES_FOLLOW}"], separated, ["\n]}\n"]))

    def read_config(self, judge: str | None = None) -> dict[str, Any]:
        """Read the resolved configuration of the last start, or what of it the judge of this name last had.

        Returns:
            The configuration; empty if there was no such start.
        """
        path = self.config if judge is None else self.judgments / f"{judge}.yaml"
        if not path.exists():
            return {}
        try:
            config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no YAML ({error}); remove it and start the phase again") from error
        return config

    def write_config(self, resolved: dict[str, Any], judge: str | None = None) -> None:
        """Write the resolved configuration; what only the other phase uses stays as that phase had it.

        Args:
            resolved: The configuration.
            judge: The judge's name if phase 2 starts; what it uses is kept for each judge.
        """
        kept = {key: v for key, v in self.read_config().items() if (key in JUDGE_SECTIONS) == (judge is None)}
        _write_yaml(self.config, {**resolved, **kept})
        if judge is not None:
            _write_yaml(self.judgments / f"{judge}.yaml", {key: resolved[key] for key in JUDGE_SECTIONS})

    def read_edits(self) -> dict[str, Edit]:
        """Read the latest edit of each sample."""
        return {edit.sample_id: edit for edit in read_lines(self.edits_index, Edit)}

    def lost_images(self, edits: dict[str, Edit]) -> set[str]:
        """Ids of edited samples whose shard is gone or too short to hold the image."""
        ends = {path.name: path.stat().st_size for path in self.edits.glob("shard-*.tar")}
        return {
            edit.sample_id
            for edit in edits.values()
            if edit.shard is not None
            and edit.offset is not None
            and edit.offset + (edit.length or 0) > ends.get(shard_name(edit.shard), 0)
        }

    def committed_shard_end(self) -> tuple[int, int] | None:
        """Where the last image that the index knows ends, as (shard, end in bytes); None without any."""
        return max(
            (
                (edit.shard, sample_end(edit.offset, edit.length))
                for edit in read_lines(self.edits_index, Edit)
                if edit.shard is not None
                and edit.offset is not None
                and edit.length is not None
                and (self.edits / shard_name(edit.shard)).exists()
            ),
            default=None,
        )

    def read_judgments(self, judge: str) -> dict[str, Judgment]:
        """Read the latest judgment of each sample."""
        return {judgment.sample_id: judgment for judgment in read_lines(self.judgments_of(judge), Judgment)}

    def read_sessions(self) -> list[dict[str, Any]]:
        """Read the facts of every start of a phase, oldest first."""
        if not self.sessions.exists():
            return []
        data = read_json(self.sessions)
        if not isinstance(data, dict) or not isinstance(data.get("sessions"), list):
            raise UserError(f"{self.sessions} holds no list of sessions; remove it (times and models are lost with it)")
        sessions: list[dict[str, Any]] = data["sessions"]
        return sessions

    def write_status(self, phase: str, state: str, done: int, failed: int, total: int) -> None:
        """Tell scripts and people where the run stands."""
        status = {"phase": phase, "state": state, "done": done, "failed": failed, "total": total, "time": utc_now()}
        write_atomic(self.status, json.dumps(status) + "\n")

    def write_session(self, session: dict[str, Any]) -> None:
        """Add a start of a phase, or replace the entry that has the same `started` and `phase`."""
        others = [
            s for s in self.read_sessions() if (s["started"], s["phase"]) != (session["started"], session["phase"])
        ]
        write_atomic(self.sessions, json.dumps({"sessions": [*others, session]}, indent=1, ensure_ascii=False) + "\n")


def _until(end: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines before one.

    Raises:
        ValueError: that line does not come.
    """
    for line in lines:
        if line == end:
            return
        yield line
    raise ValueError(f"the line {end.strip()} is not there")


def _write_yaml(path: Path, data: dict[str, Any]) -> None:
    write_atomic(path, yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=110))


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
