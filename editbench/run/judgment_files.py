"""Where judgments of a judge are written: those of samples in one file, those of controls in one of their own."""

from collections.abc import Iterable

from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.run.records import Control, Judgment


class JudgmentFiles:
    """Appends judgments; on the disk when `append` returns. Rank 0 only.

    Args:
        folder: The run.
        judge: The judge's name.
    """

    def __init__(self, folder: RunDir, judge: str) -> None:
        self._folder, self._judge = folder, judge
        self._samples = JsonLines(folder.judgments_of(judge))
        self._controls: JsonLines | None = None

    def append(self, judgments: Iterable[Judgment]) -> None:
        """Write a line for each, in the file that it belongs to; that of controls is made with the first of them."""
        judgments = list(judgments)
        controls = [judgment for judgment in judgments if isinstance(judgment, Control)]
        self._samples.append(*(judgment for judgment in judgments if not isinstance(judgment, Control)))
        if not controls:
            return
        if self._controls is None:
            self._folder.controls.mkdir(exist_ok=True)
            self._controls = JsonLines(self._folder.controls_of(self._judge))
        self._controls.append(*controls)

    def close(self) -> None:
        """Close the files."""
        self._samples.close()
        if self._controls is not None:
            self._controls.close()
