"""The facts of one start of a phase, kept on disk while it runs: `status.json` and `sessions.json`. Rank 0 only."""

import logging
import time
from collections import Counter
from typing import Any

from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.run.environment import environment
from editbench.run.folder import RunDir, utc_now
from editbench.run.progress import ProgressDisplay
from editbench.run.records import FAILURE_STATES, State
from editbench.text import redact

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0


class Session:
    """Counts what a phase does, shows it, and stops the phase when too much fails. Use as a context manager.

    Args:
        run_dir: The run.
        phase: `edit` or `score`.
        total: Samples the phase is responsible for.
        states: How many of them are in which state from earlier starts.
        max_failed: The fraction of `total` that may fail; replies without a score do not count here.
        component: Which editor or judge works here, as `component_facts` gives it.

    Attributes:
        preempted: To be set when the phase ends before it is done.
    """

    def __init__(
        self,
        run_dir: RunDir,
        phase: str,
        total: int,
        states: Counter[State],
        max_failed: float,
        component: dict[str, Any],
    ) -> None:
        self._run_dir, self._phase, self._total = run_dir, phase, total
        self._states, self._before = Counter(states), states.total()
        self._max_failed = max_failed
        self.preempted = False
        self._began = time.monotonic()
        self._facts: dict[str, Any] = {"phase": phase, "started": utc_now()}
        self._component = component
        self._environment = environment()
        self._written = float("-inf")
        self._display = ProgressDisplay(phase, total, self._before)
        self._write("running")

    def count(self, state: State, facts: str = "") -> None:
        """Take note of one more sample.

        Raises:
            UserError: more samples have failed than `max_failed` allows.
        """
        self._states[state] += 1
        shown = [f"{count} {name}" for name, count in sorted(self._states.items())]
        self._display.update(self._states.total(), ", ".join([*shown, facts] if facts else shown))
        check_failures(self._phase, self._states, self._total, self._max_failed)
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write("running")

    def step(self, done: int, total: int) -> None:
        """Show the denoising steps of rank 0's own image."""
        self._display.step(done, total)

    def loaded(self, describe: dict[str, Any], **facts: Any) -> None:
        """Add what is known once the model is loaded: its own description, and facts of this start."""
        if not isinstance(describe, dict):
            raise UserError(
                f"{self._component['class']}.describe() returned a {type(describe).__name__}, must be a dict"
            )
        self._component |= redact(describe)
        self._facts |= facts
        self._write("running")

    def is_preempted(self, stopped: bool) -> bool:
        """Whether the phase ends before it is done.

        Args:
            stopped: Whether a signal asked for that.

        Raises:
            UserError: samples are missing although nothing asked for that.
        """
        left = self._total - self._states.total()
        if left and not stopped:
            raise UserError(f"{left} of {self._total} samples were not done by any rank; start the same command again")
        self.preempted = left > 0
        return self.preempted

    def fail(self) -> None:
        """Put on record that the phase has failed."""
        self.__exit__(RuntimeError)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._display.stop()
        if kind is None:
            self._write("preempted" if self.preempted else "done")
            return
        try:
            self._write("failed")
        except OSError as error:  # the disk is full, and that is what is being raised
            logger.debug("the status could not be written: %s", error)

    def _failed(self) -> int:
        return sum(self._states[state] for state in FAILURE_STATES)

    def _write(self, state: str) -> None:
        self._written = time.monotonic()
        done = self._states.total()
        self._run_dir.write_status(self._phase, state, done, self._failed(), self._total)
        self._run_dir.write_session(
            {
                **self._facts,
                "state": state,
                "wall_s": round(self._written - self._began, 3),
                "samples": done - self._before,
                "component": self._component,
                "environment": self._environment,
            }
        )


class SilentSession:
    """Stands for the session on ranks other than 0, which keep no record."""

    preempted = False

    def step(self, done: int, total: int) -> None:
        """Show nothing."""

    def loaded(self, describe: dict[str, Any], **facts: Any) -> None:
        """Keep nothing."""

    def count(self, state: State, facts: str = "") -> None:
        """Count nothing."""

    def fail(self) -> None:
        """Keep nothing."""

    def is_preempted(self, stopped: bool) -> bool:
        """Rank 0 knows that."""
        raise AssertionError("only rank 0 is asked")


def check_failures(phase: str, states: Counter[State], total: int, max_failed: float) -> None:
    """Check that a phase may go on.

    Raises:
        UserError: more of its samples have failed than allowed; replies without a score do not count here.
    """
    failed = sum(states[state] for state in FAILURE_STATES if state != "unparsed")
    if failed > max_failed * total:
        raise UserError(
            f"{failed} of {total} samples failed in phase {phase}, more than max_failed={max_failed} allows; logs/ and "
            "the .jsonl files in the run folder tell why, retry_failed=true tries them again"
        )


def component_facts(component: ComponentConfig, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Which editor or judge it is, for the report."""
    facts: dict[str, Any] = {"name": component.name, "class": component.target}
    if checkpoint is None:
        return facts
    if checkpoint.lora:
        lora = component.kwargs["lora"]
        facts |= {
            "lora": f"{lora['path']}/{lora['weight_name']}",
            "lora_scale": lora.get("scale", 1.0),
            "lora_revision": checkpoint.lora.revision,
            "lora_fingerprint": checkpoint.lora.fingerprint,
        }
    return facts | {
        "checkpoint": component.kwargs["checkpoint"],
        "revision": checkpoint.revision,
        "fingerprint": checkpoint.fingerprint,
        "checkpoint_gib": round(checkpoint.size_bytes / 2**30, 4),
        "checkpoint_note": checkpoint.note,
    }
