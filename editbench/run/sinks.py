"""Where results end on rank 0: edits in shards and index, judgments in their judge's file. Each is counted."""

import hashlib
import logging
import math
from collections.abc import Sequence

from editbench.run.folder import RunDir
from editbench.run.judgment_files import JudgmentFiles
from editbench.run.lines import JsonLines
from editbench.run.records import Control, Edit, Judgment, Sample, to_dict
from editbench.run.sealed_json import seal
from editbench.run.session import SilentSession
from editbench.run.shards import ShardWriter

logger = logging.getLogger(__name__)


class EditSink:
    """Writes edits as they arrive: PNG into a shard, line into the index.

    Args:
        folder: The run.
        shard_size_mib: A shard that has reached this size is closed.
        samples: Those that are edited.
        session: Counts them.
    """

    def __init__(self, folder: RunDir, shard_size_mib: int, samples: Sequence[Sample], session: SilentSession) -> None:
        self._shards = ShardWriter(folder.edits, shard_size_mib * 2**20, folder.committed_shard_end())
        self._index = JsonLines(folder.edits_index)
        self._samples = {sample.sample_id: sample for sample in samples}
        self._session = session

    def handle(self, result: tuple[Edit, bytes | None]) -> None:
        """Write one edit, and its PNG if there is one."""
        edit, png = result
        if png is not None:
            sample = self._samples[edit.sample_id]
            edit.sha256, edit.length = hashlib.sha256(png).hexdigest(), len(png)
            metadata = to_dict(edit) | {"instruction": sample.instruction, "source_sha256": sample.source_sha256}
            metadata |= {"rewritten": sample.rewritten} if sample.rewritten else {}
            del metadata["shard"], metadata["offset"]  # not known yet, and told by the place itself
            edit.shard, edit.offset = self._shards.append(sample.key, png, seal(metadata))
        self._index.append(edit)
        self._session.count(edit.state)

    def close(self) -> None:
        """End the current shard as a complete tar file."""
        self._shards.close()
        self._index.close()


class JudgmentSink:
    """Writes judgments as they arrive, a batch at a time, and keeps their running mean in view.

    Args:
        folder: The run.
        judge: The judge's name.
        kept: Judgments of earlier starts that count.
        session: Counts them.
    """

    def __init__(self, folder: RunDir, judge: str, kept: Sequence[Judgment], session: SilentSession) -> None:
        self._files = JudgmentFiles(folder, judge)
        self._scores = _scores(kept)
        self._session = session

    def handle(self, result: list[Judgment]) -> None:
        """Write the judgments of one batch."""
        scores = _scores(result)
        self._scores += scores
        means = f"mean {_mean(self._scores)}, of the last batch {_mean(scores)}"
        logger.debug("batch of %d: %s", len(result), means)
        self._files.append(result)
        for judgment in result:
            if isinstance(judgment, Control):
                self._session.count_control()
            else:
                self._session.count(judgment.state, means)

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def _scores(judgments: Sequence[Judgment]) -> list[float]:
    """The scores that a mean is of: controls have no part in it."""
    return [j.score for j in judgments if j.score is not None and not isinstance(j, Control)]


def _mean(scores: Sequence[float]) -> str:
    return f"{math.fsum(scores) / len(scores):.3f}" if scores else "–"
