"""One start of a phase, kept on disk while it runs in `status.json` and `sessions.json`, and shown. Rank 0 only."""

import logging
import time
from typing import Any, Self

from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.run.environment import environment
from editbench.run.folder import RunDir, utc_now
from editbench.run.progress import ProgressDisplay
from editbench.run.records import State
from editbench.run.tally import Tally
from editbench.text import redact

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0


class SilentSession:
    """The session of ranks other than 0: does nothing.

    Attributes:
        preempted: To be set when the phase ends before it is done.
    """

    preempted = False

    def count(self, state: State, remark: str = "") -> None:
        """Take note of one more sample; `remark` is shown beside the counts."""

    def count_control(self) -> None:
        """Take note of one more control that was judged."""

    def step(self, done: int, total: int) -> None:
        """Show the denoising steps of rank 0's own image."""

    def loaded(self, description: dict[str, Any], **loading: Any) -> None:
        """Add what is known once the model is loaded: its own description, and how this start loaded it."""

    def is_preempted(self, stopped: bool) -> bool:
        """Whether the phase ends before it is done, given whether a signal asked for that."""
        return stopped

    def fail(self) -> None:
        """Put on record that the phase has failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        return None


class Session(SilentSession):
    """Counts what a phase does, shows it, and stops the phase when too much fails. The phase runs while it is entered.

    Args:
        run_dir: The run.
        tally: What the phase is responsible for, and how much of it earlier starts have done.
        made_by: Which editor or judge works here, as `describe_component` gives it.
    """

    def __init__(self, run_dir: RunDir, tally: Tally, made_by: dict[str, Any]) -> None:
        self._run_dir, self._tally, self._before = run_dir, tally, tally.done
        self._controls = tally.controls_left
        self._made_by, self._environment = made_by, environment()
        self._began = time.monotonic()
        self._start: dict[str, Any] = {"phase": tally.phase, "started": utc_now()}
        self._written = float("-inf")
        self._display = ProgressDisplay(tally.phase, tally.total, tally.done)

    def count(self, state: State, remark: str = "") -> None:
        """Take note of one more sample.

        Raises:
            UserError: more samples have failed than `max_failed` allows.
        """
        self._tally.states[state] += 1
        shown = [f"{count} {name}" for name, count in sorted(self._tally.states.items())]
        self._display.update(self._tally.done, ", ".join([*shown, remark] if remark else shown))
        self._tally.check()
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write("running")

    def count_control(self) -> None:
        """Take note of one more control that was judged; that it failed, if it did, stops nothing."""
        self._tally.controls_left -= 1
        self._display.update(self._tally.done, f"{self._tally.controls_left} controls left")
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write("running")

    def step(self, done: int, total: int) -> None:
        """Show the denoising steps of rank 0's own image."""
        self._display.step(done, total)

    def loaded(self, description: dict[str, Any], **loading: Any) -> None:
        """Add what is known once the model is loaded: its own description, and how this start loaded it."""
        if not isinstance(description, dict):
            raise UserError(
                f"{self._made_by['class']}.describe() returned a {type(description).__name__}, must be a dict"
            )
        self._made_by |= redact(description)
        self._start |= loading
        self._write("running")

    def is_preempted(self, stopped: bool) -> bool:
        """Whether the phase ends before it is done.

        Args:
            stopped: Whether a signal asked for that.

        Raises:
            UserError: samples are missing although nothing asked for that.
        """
        left = self._tally.total - self._tally.done + self._tally.controls_left
        if left and not stopped:
            raise UserError(
                f"{self._tally.total - self._tally.done} of {self._tally.total} samples"
                + f" and {self._tally.controls_left} controls" * bool(self._tally.controls_left)
                + " were not done by any rank; start the same command again"
            )
        self.preempted = left > 0
        return self.preempted

    def fail(self) -> None:
        """Put on record that the phase has failed."""
        self.__exit__(RuntimeError)

    def __enter__(self) -> Self:
        self._write("running")
        self._display.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._display.stop()
        if kind is None:
            self._write("preempted" if self.preempted else "done")
            if self.preempted:
                logger.warning("preempted: no more samples were started; the same command goes on from here")
            return
        try:
            self._write("failed")
        except OSError as error:  # the disk is full, and that is what is being raised
            logger.debug("the status could not be written: %s", error)

    def _write(self, state: str) -> None:
        self._written = time.monotonic()
        self._run_dir.write_status(self._tally, state)
        self._run_dir.write_session(
            {
                **self._start,
                "state": state,
                "wall_s": round(self._written - self._began, 3),
                "samples": self._tally.done - self._before,
                "controls": self._controls - self._tally.controls_left,
                "component": self._made_by,
                "environment": self._environment,
            }
        )


def describe_component(settings: ComponentConfig, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Which editor or judge it is, for the report."""
    described: dict[str, Any] = {"name": settings.name, "class": settings.target}
    if checkpoint is None:
        return described
    if checkpoint.lora:
        lora = settings.kwargs["lora"]
        described |= {
            "lora": "/".join(lora[key] for key in ("path", "weight_name") if key in lora),
            "lora_scale": lora.get("scale", 1.0),
            "lora_revision": checkpoint.lora.revision,
            "lora_fingerprint": checkpoint.lora.fingerprint,
        }
    return described | {
        "checkpoint": settings.kwargs["checkpoint"],
        "revision": checkpoint.revision,
        "fingerprint": checkpoint.fingerprint,
        "checkpoint_gib": round(checkpoint.size_bytes / 2**30, 4),
        "checkpoint_note": checkpoint.note,
    }
