"""How far a phase is."""

from collections import Counter
from dataclasses import dataclass

from editbench.errors import UserError
from editbench.run.records import FAILURE_STATES, State


@dataclass
class Tally:
    """What a phase is responsible for, and how much of it is done.

    Attributes:
        phase: `edit` or `score`.
        total: Samples the phase is responsible for.
        states: How many of them are in which state.
        max_failed: The fraction of `total` that may fail; replies without a score do not count here.
        controls_left: Controls that are still to be judged; no sample, and none of the counts above.
    """

    phase: str
    total: int
    states: Counter[State]
    max_failed: float
    controls_left: int = 0

    @property
    def done(self) -> int:
        """Samples that are in any state."""
        return self.states.total()

    @property
    def failed(self) -> int:
        """Samples without the result that was wanted, replies without a score among them."""
        return sum(self.states[state] for state in FAILURE_STATES)

    def check(self) -> None:
        """Check that the phase may go on.

        Raises:
            UserError: more of its samples have failed than `max_failed` allows.
        """
        failed = self.failed - self.states["unparsed"]
        if failed > self.max_failed * self.total:
            raise UserError(
                f"{failed} of {self.total} samples failed in phase {self.phase}, more than max_failed="
                f"{self.max_failed} allows; logs/ and the .jsonl files in the run folder tell why, retry_failed=true "
                "tries them again"
            )
