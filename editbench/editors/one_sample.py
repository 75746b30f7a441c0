"""Edits one sample: whatever goes wrong with it is put on record, and ends nothing else."""

import logging
import time
from collections.abc import Callable

from PIL import Image

from editbench import images
from editbench.datasets.sources import ReadSources
from editbench.distributed import devices
from editbench.editors.base import Editor, HasPictures, TakesSeveral
from editbench.errors import InvalidOutputError, ServerError
from editbench.run.identity import sample_input
from editbench.run.records import Edit, EditTask
from editbench.text import hide, printable

logger = logging.getLogger(__name__)


def encode(edit: Edit, image: Image.Image | None) -> tuple[Edit, bytes | None]:
    """What travels to rank 0: the record, and its PNG if there is one."""
    return edit, None if image is None else images.encode_png(image)


def edit_one(
    editor: Editor | HasPictures, task: EditTask, read: ReadSources, on_step: Callable[[int, int], None]
) -> tuple[Edit, Image.Image | None]:
    """Edit one sample; whatever goes wrong with it is put on record and ends nothing else.

    Args:
        editor: The editor.
        task: What is edited.
        read: Gives the source images, or raises what is wrong with one.
        on_step: Called with (steps done, steps in all).

    Returns:
        The record, and the edited image if there is a valid one.

    Raises:
        ServerError: the editor is a server that answers no request.
        StoppedError: it is one that the sample would have to wait for, and the phase is stopping.
        Exception: a CUDA error after which this process can do nothing more on its device.
    """
    sample = task.sample
    edit = Edit(sample.sample_id, sample.category, "edited", task.unit, sample_input(sample), task.seed)
    edit.follows_sha256 = task.before.sha256 if task.before else None
    image = None
    started = time.monotonic() - getattr(editor, "waited_s", 0.0)
    try:
        sources = read()
        edit.source_width, edit.source_height = sources[0].size
        if hasattr(editor, "picture_of"):
            result = editor.picture_of(sample)
        else:
            result = devices.again_with_room(lambda: _make(editor, sources, task, on_step))
        images.check_edited(result)
        edit.width, edit.height = result.size
        image = result.copy()  # it is encoded while the editor is at work again, maybe in the same memory
    except Exception as error:
        if isinstance(error, ServerError) or devices.is_lost(error):
            raise
        edit.state = "invalid_output" if isinstance(error, InvalidOutputError) else "edit_failed"
        edit.error_type, edit.error = type(error).__name__, hide(str(error))
        logger.warning("sample %s: %s: %s", *map(printable, (sample.sample_id, edit.error_type, edit.error)))
        logger.debug("the traceback", exc_info=True)
    if edit.state != "edited":
        devices.empty_cache()  # outside the except clause: the exception holds on to the edit's tensors
    edit.latency_s = round(time.monotonic() - getattr(editor, "waited_s", 0.0) - started, 4)
    return edit, image


def _make(
    editor: Editor | TakesSeveral, sources: list[Image.Image], task: EditTask, on_step: Callable[[int, int], None]
) -> Image.Image:
    instruction = task.sample.for_editor
    if len(sources) == 1:
        return editor.edit(sources[0], instruction, task.seed, on_step)
    if not hasattr(editor, "edit_several"):
        raise ValueError(f"the sample has {len(sources)} source images, and the editor takes one")
    made: Image.Image = editor.edit_several(sources, instruction, task.seed, on_step)
    return made
