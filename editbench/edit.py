"""Phase 1: edit every planned sample, one process per GPU.

    torchrun --nproc_per_node=6 -m editbench.edit run_name=mine editor=qwen_image_edit dataset.path=bench.json

Rank 0 makes the plan and finds what is missing; rank r edits `missing[r::world_size]`, or with
`edit.schedule=dynamic` whatever is next, one image at a time; the images travel to rank 0 as PNG bytes, and rank 0
appends them to shards and index. Started again, it does what is still missing. It judges nothing.
"""

import contextlib
import functools
import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from editbench import cli, images, logs
from editbench.components.checkpoint import Checkpoint
from editbench.components.load import construct, copied_bytes, find_checkpoint, open_dataset
from editbench.config.schema import Config, SourceConfig
from editbench.datasets.base import Dataset, check_instruction, read_source
from editbench.datasets.sources import HeadStart, ReadSource, read_ahead
from editbench.distributed import devices
from editbench.distributed import group as distributed
from editbench.distributed.gather import Gather
from editbench.distributed.group import Ranks, deal
from editbench.distributed.preemption import EXIT_PREEMPTED, Preempted, Preemption
from editbench.editors.base import Editor
from editbench.errors import InvalidOutputError
from editbench.plan import ensure_plan, show_dry_run
from editbench.redaction import hide
from editbench.run.folder import RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, Sample, to_dict
from editbench.run.recovery import take_up_stored
from editbench.run.sealed_json import seal
from editbench.run.session import Session, check_failures, component_facts
from editbench.run.shards import ShardWriter
from editbench.todo import EditTask, edit_task, find_edit_tasks, withdraw_edits
from editbench.views.console import assignment_table, plan_table

logger = logging.getLogger("editbench.edit")


def main(config: Config) -> int:
    """Edit what is missing; returns the exit code."""
    ranks = Ranks.from_env()
    run_dir = RunDir(config.run_dir)
    if config.dry_run:
        if ranks.rank == 0:
            _dry_run(config, ranks, run_dir)
        return 0
    with Preemption() as preemption, distributed.process_group(ranks, config.distributed):
        logs.set_up("edit", ranks.rank, run_dir.create(), config.log_level)
        checkpoint = distributed.node_first(ranks, lambda: find_checkpoint(config.editor, download=True))
        tasks, session = _prepare(config, ranks, run_dir, checkpoint)
        if not tasks:
            logger.info("nothing is left to edit (failed samples are tried again with retry_failed=true)")
            return 0
        with session or contextlib.nullcontext():
            preempted = _edit_all(config, ranks, run_dir, checkpoint, tasks, session, preemption)
    if preempted:
        logger.warning("preempted: no more samples were started; the same command goes on from here")
    return EXIT_PREEMPTED if preempted else 0


def edit_one(
    editor: Editor, task: EditTask, read: ReadSource, on_step: Callable[[int, int], None] | None = None
) -> tuple[Edit, Image.Image | None]:
    """Edit one sample; whatever goes wrong with it is put on record and ends nothing else.

    Args:
        editor: The editor.
        task: What is edited.
        read: Gives the source image, or raises what is wrong with it.
        on_step: Called with (steps done, steps in all).

    Returns:
        The record, and the edited image if there is a valid one.

    Raises:
        Exception: a CUDA error after which this process can do nothing more on its device.
    """
    sample = task.sample
    edit = Edit(sample.sample_id, sample.category, "edited", task.unit, sample_input(sample), task.seed)
    image = None
    started = time.monotonic()
    try:
        source = read()
        edit.source_width, edit.source_height = source.size
        result = editor.edit(source, sample.instruction, task.seed, on_step or _show_nothing)
        images.check_edited(result)
        edit.width, edit.height = result.size
        image = result.copy()  # it is encoded while the editor is at work again, maybe in the same memory
    except Exception as error:
        if devices.is_lost(error):
            raise
        edit.state = "invalid_output" if isinstance(error, InvalidOutputError) else "edit_failed"
        edit.error_type, edit.error = type(error).__name__, hide(str(error))
        logger.warning("sample %s: %s: %s", *map(logs.printable, (sample.sample_id, edit.error_type, edit.error)))
        logger.debug("the traceback", exc_info=True)
    if edit.state != "edited":
        devices.empty_cache()  # outside the except clause: the exception holds on to the edit's tensors
    edit.latency_s = round(time.monotonic() - started, 4)
    return edit, image


class EditWriter:
    """Writes edits as they arrive on rank 0: PNG into a shard, line into the index."""

    def __init__(self, run_dir: RunDir, shard_size_mib: int, samples: Sequence[Sample], session: Session) -> None:
        self._shards = ShardWriter(run_dir.edits, shard_size_mib * 2**20, run_dir.committed_shard_end())
        self._index = JsonLines(run_dir.edits_index)
        self._samples = {sample.sample_id: sample for sample in samples}
        self._session = session

    def handle(self, payload: bytes) -> None:
        """Take one payload of `_payload`."""
        header, png = distributed.unpack(payload)
        edit = Edit(**header)
        if png:
            sample = self._samples[edit.sample_id]
            edit.sha256, edit.length = hashlib.sha256(png).hexdigest(), len(png)
            metadata = to_dict(edit) | {"instruction": sample.instruction, "source_sha256": sample.source_sha256}
            del metadata["shard"], metadata["offset"]  # not known yet, and told by the place itself
            edit.shard, edit.offset = self._shards.append(sample.key, png, seal(metadata))
        self._index.append(edit)
        self._session.count(edit.state)

    def close(self) -> None:
        """End the current shard as a complete tar file."""
        self._shards.close()
        self._index.close()


def _dry_run(config: Config, ranks: Ranks, run_dir: RunDir) -> None:
    plan = ensure_plan(config, run_dir)
    tasks, kept = find_edit_tasks(config, run_dir, plan, find_checkpoint(config.editor, download=False))
    logs.console().print(plan_table(plan))
    _show_shares(config, ranks, tasks)
    show_dry_run(config, config.editor, "edit", len(kept))


def _show_shares(config: Config, ranks: Ranks, tasks: Sequence[EditTask]) -> None:
    """Show which rank edits what, as far as that is known before."""
    if config.edit.schedule == "strided":
        shares = deal([task.sample for task in tasks], ranks.world_size)
        logs.console().print(assignment_table(shares, "to edit"))
    else:
        logs.console().print(f"{len(tasks)} samples to edit, which {ranks.world_size} ranks draw")


def _prepare(
    config: Config, ranks: Ranks, run_dir: RunDir, checkpoint: Checkpoint | None
) -> tuple[Sequence[EditTask], Session | None]:
    """Find the tasks on rank 0 and give them to all; the session is rank 0's alone."""
    session = None
    tasks: list[EditTask] = []

    def find() -> None:
        nonlocal session, tasks
        run_dir.lock("edit")
        take_up_stored(run_dir)
        plan = ensure_plan(config, run_dir, lambda new: find_edit_tasks(config, run_dir, new, checkpoint))
        tasks, kept = find_edit_tasks(config, run_dir, plan, checkpoint)
        run_dir.write_config(config.resolved)
        total, states = len(plan.samples), Counter(edit.state for edit in kept)
        check_failures("edit", states, total, config.max_failed)
        if tasks:
            withdraw_edits(tasks, run_dir)
            _show_shares(config, ranks, tasks)
            component = component_facts(config.editor, checkpoint)
            session = Session(run_dir, "edit", total, states, config.max_failed, component)
        else:
            run_dir.write_status("edit", "done", total, total - states["edited"], total)

    distributed.on_rank_0(ranks, find)
    return distributed.share(ranks, tasks, edit_task), session


def _edit_all(
    config: Config,
    ranks: Ranks,
    run_dir: RunDir,
    checkpoint: Checkpoint | None,
    tasks: Sequence[EditTask],
    session: Session | None,
    preemption: Preemption,
) -> bool:
    """Edit one image at a time, each sent to rank 0 behind the next edit; returns whether it was preempted."""
    mine = tasks[ranks.rank :: ranks.world_size]
    rounds = math.ceil(len(tasks) / ranks.world_size)
    try:
        with preemption.at_once():
            editor, facts = _load(config, ranks, checkpoint, len(tasks))
    except Preempted:
        distributed.leave_preempted(ranks)
        if session:
            session.preempted = True
        return True
    if session and editor:
        session.loaded(editor.describe(), **facts, rounds=rounds)
    dynamic = config.edit.schedule == "dynamic"
    sync_every = 0 if dynamic else config.edit.sync_every
    turns = distributed.draw("edits", tasks, ranks) if dynamic and editor else _dealt(mine, rounds)
    writer = session and EditWriter(run_dir, config.edit.shard_size_mib, [task.sample for task in tasks], session)
    on_step = session.step if session else None
    head_start = HeadStart()
    read = head_start.before(functools.partial(read_sample, open_dataset(config.dataset), config.source))
    encode = head_start.before(_payload)
    timeout_s = config.distributed.timeout_s
    with Gather(writer.handle if writer else None, timeout_s, session.fail if session else None) as gather:
        for number, (task, source) in enumerate(read_ahead(turns, read), start=1):
            payload = None
            if task and editor and not preemption.requested:
                edit, image = edit_one(editor, task, source, on_step)
                if sync_every and edit.latency_s:  # without barriers ranks come one by one anyway
                    head_start.expect(edit.latency_s if number < rounds else 0.0)  # behind the last edit comes none
                payload = functools.partial(encode, edit, image)
            if sync_every and number % sync_every == 0:
                stopping = gather.barrier(preemption.requested)  # the same on all ranks
            else:
                stopping = preemption.requested and not sync_every
            if payload:  # only now: encoding behind the next edit takes no core from ranks on their way to the barrier
                gather.put(payload)
            if stopping:
                preemption.requested = True
                distributed.stop_drawing()
                break
    stopped = distributed.barrier(preemption.requested)
    if writer and session and editor:
        writer.close()
        session.loaded(editor.describe())  # with what it has counted by now
    return bool(distributed.on_rank_0(ranks, lambda: session and session.is_preempted(stopped)))


def _dealt(mine: Sequence[EditTask], rounds: int) -> Iterator[EditTask | None]:
    """A rank's share, one task a round; None in a round that has none for it."""
    yield from mine
    yield from [None] * (rounds - len(mine))


def read_sample(dataset: Dataset, limits: SourceConfig, sample: Sample) -> Image.Image:
    """Read and decode a sample's source image, mode RGB.

    Raises:
        ValueError: source or instruction are broken or beyond the limits.
    """
    check_instruction(sample.instruction, limits)
    return images.decode_rgb(read_source(dataset, sample), limits)


def _load(
    config: Config, ranks: Ranks, checkpoint: Checkpoint | None, count: int
) -> tuple[Editor | None, dict[str, Any]]:
    """Construct the editor on this rank's device, or None if the rank has nothing to edit.

    Returns:
        The editor, and facts of the loading for the report.
    """
    names = devices.usable_devices(config.device_ids)
    device = devices.edit_device(ranks.local_rank, ranks.local_world_size, names)
    editor: Editor | None = None
    began = time.monotonic()
    with distributed.loading_turn(ranks, config.edit.max_concurrent_loads, copied_bytes(config.editor, checkpoint)):
        if ranks.rank < count:
            devices.use(device)
            editor = construct(config.editor, "editor", checkpoint, device=device)
    on = distributed.all_gather(devices.describe([device] if editor else []))
    took = round(time.monotonic() - began, 3)
    facts = {"world_size": ranks.world_size, "devices": on, "load_s": took, "load_peak_gib": devices.peak_gib(device)}
    return editor, facts


def _payload(edit: Edit, image: Image.Image | None) -> bytes:
    return distributed.pack(to_dict(edit), images.encode_png(image) if image else b"")


def _show_nothing(_done: int, _total: int) -> None:
    """Ranks other than 0 show no steps."""


if __name__ == "__main__":
    cli.run(main, __doc__)
