"""What a start makes good before it goes on: images in shards that a killed start did not put into the index."""

import dataclasses
import logging

from editbench.errors import UserError
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines
from editbench.run.records import Edit
from editbench.run.shards import DamagedSampleError, is_zero_from, scan

logger = logging.getLogger(__name__)


def take_up_stored(run_dir: RunDir) -> int:
    """Add to the index what lies in the shards behind the last image it knows; returns how many images that is.

    This is what a run killed between shard and index leaves, and, without an index, everything: so a lost index is
    rebuilt by removing it and starting the edit phase again.

    Raises:
        UserError: a shard is damaged there.
    """
    committed, end = run_dir.committed_shard_end() or (0, 0)
    names = {f.name for f in dataclasses.fields(Edit)}
    taken = 0
    index = JsonLines(run_dir.edits_index)
    for path in sorted(run_dir.edits.glob("shard-*.tar")):
        number = int(path.stem.removeprefix("shard-"))
        if number < committed:
            continue
        try:
            for stored in scan(path, end if number == committed else 0):
                fields = {name: value for name, value in stored.metadata.items() if name in names}
                index.append(Edit(**(fields | {"shard": number, "offset": stored.offset})))
                taken += 1
        except DamagedSampleError as error:
            if not is_zero_from(path, error.end):
                raise UserError(f"{error}; restore the file, or remove it to edit its images anew") from error
            logger.warning("%s; nothing follows it, so it is taken for a torn end and edited anew", error)
        except (ValueError, TypeError) as error:
            raise UserError(f"{error}; restore the file, or remove it to edit its images anew") from error
    index.close()
    if taken:
        logger.warning("took up %d images of %s that the index did not know", taken, run_dir.edits)
    return taken
