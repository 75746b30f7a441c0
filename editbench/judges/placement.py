"""Which devices hold which replica of the judge, and how many samples a batch has."""

from dataclasses import dataclass

from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import Config
from editbench.distributed import devices
from editbench.distributed.group import Group


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
    """Measure the devices of all nodes and place the replicas; the batch size follows the smallest GPU."""
    ranks = group.ranks
    measured = devices.measure(devices.usable_devices(config.device_ids)) if ranks.local_rank == 0 else []
    nodes = group.all_gather(measured)
    size = checkpoint.size_bytes if checkpoint else 0
    placed = devices.place_replicas(
        size, nodes[ranks.rank - ranks.local_rank], ranks.local_world_size, config.judge.devices_per_replica
    )
    batch_size = config.judge.batch_size
    if not isinstance(batch_size, int):
        batch_size = devices.auto_batch_size(min((d.total_bytes for node in nodes for d in node), default=None))
    return Placement(group.all_gather(placed[ranks.local_rank]), batch_size)
