"""Which devices hold which replica of the judge, and how many samples a batch has."""

import math
from dataclasses import dataclass

from editbench.components.checkpoint import Checkpoint
from editbench.components.load import component_class
from editbench.config.schema import Config
from editbench.distributed.devices import GIB, RESERVE_BYTES, Device, measure, usable_devices
from editbench.distributed.group import Group
from editbench.errors import UserError

WEIGHTS_FACTOR = 1.05
"""Memory of loaded weights per byte of checkpoint, buffers included."""


@dataclass(frozen=True)
class Placement:
    """Replicas of the job.

    Attributes:
        replicas: Devices of each rank's replica; empty for a rank that gets none.
        batch_size: Samples per batch, the same on all ranks.
    """

    replicas: list[list[str]]
    batch_size: int

    def devices(self, rank: int, batches: int) -> list[str]:
        """This rank's devices; none for a replica beyond the number of batches."""
        active = [holder for holder, replica in enumerate(self.replicas) if replica][:batches]
        return self.replicas[rank] if rank in active else []


def place(config: Config, group: Group, checkpoint: Checkpoint | None) -> Placement:
    """Measure the devices of all nodes and place the replicas; the batch size follows the smallest GPU.

    A judge whose class says `uses_gpu = False` has a replica on the CPU of every rank.
    """
    ranks = group.ranks
    uses_gpu = getattr(component_class(config.judge, "judge"), "uses_gpu", True)
    measured = measure(usable_devices(config.device_ids)) if uses_gpu and ranks.local_rank == 0 else []
    nodes = group.all_gather(measured)
    size = checkpoint.size_bytes if checkpoint else 0
    placed = place_replicas(
        size, nodes[ranks.rank - ranks.local_rank], ranks.local_world_size, config.judge.devices_per_replica
    )
    batch_size = config.judge.batch_size
    if not isinstance(batch_size, int):
        batch_size = auto_batch_size(min((d.total_bytes for node in nodes for d in node), default=None))
    return Placement(group.all_gather(placed[ranks.local_rank]), batch_size)


def place_replicas(
    checkpoint_bytes: int, devices: list[Device], processes: int, devices_per_replica: int | str
) -> list[list[str]]:
    """Share a node's devices among its processes for phase 2.

    Every process gets an equal run of devices. Where the model fits one device, each process uses the first of
    its run; where not, neighbouring runs are joined until a replica fits, its first process holds it and the
    others stay idle. Without GPUs every process holds a replica on the CPU.

    Args:
        checkpoint_bytes: Size of the weights; 0 for a judge without a checkpoint.
        devices: The node's usable devices; the smallest free memory counts for all.
        processes: Processes on this node.
        devices_per_replica: Devices one replica is spread over, or `auto`: as few as it fits on.

    Returns:
        For each local rank the devices of its replica; an empty list for an idle process.

    Raises:
        UserError: the model does not fit, or `devices_per_replica` exceeds the devices.
    """
    if not devices:
        return [["cpu"] for _ in range(processes)]
    needed = _devices_needed(checkpoint_bytes, devices, devices_per_replica)
    replicas = min(processes, len(devices) // needed)
    owners = {math.ceil(i * processes / replicas): i for i in range(replicas)}
    placement: list[list[str]] = []
    for local_rank in range(processes):
        if local_rank not in owners:
            placement.append([])
            continue
        first = owners[local_rank] * len(devices) // replicas
        placement.append([device.name for device in devices[first : first + needed]])
    return placement


def _devices_needed(checkpoint_bytes: int, devices: list[Device], wanted: int | str) -> int:
    if isinstance(wanted, int) and wanted > len(devices):
        raise UserError(f"judge.devices_per_replica={wanted}, but this node has {len(devices)} GPUs to use")
    free = min(device.free_bytes for device in devices)
    usable = free - RESERVE_BYTES
    least = max(1, math.ceil(checkpoint_bytes * WEIGHTS_FACTOR / usable)) if usable > 0 else len(devices) + 1
    allowed = wanted if isinstance(wanted, int) else len(devices)
    if least > allowed:
        on = f"judge.devices_per_replica={wanted}" if isinstance(wanted, int) else f"the {len(devices)} GPUs to use"
        raise UserError(
            f"the judge's checkpoint of {checkpoint_bytes / GIB:.0f} GiB does not fit {on} with {free / GIB:.0f} GiB "
            "free each; use more or larger GPUs, or a smaller judge"
        )
    return wanted if isinstance(wanted, int) else least


def auto_batch_size(total_bytes: int | None) -> int:
    """Samples per batch by the memory of one GPU: 2 below 24 GB, 4 to 48, 8 to 80, 16 above; 4 on a CPU.

    A card sold as 24 GB shows a little less, so its memory is rounded up to whole GiB.
    """
    if total_bytes is None:
        return 4
    gib = math.ceil(total_bytes / GIB)
    return 2 if gib < 24 else 4 if gib <= 48 else 8 if gib <= 80 else 16
