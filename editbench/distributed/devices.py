"""Which device each process uses: pure functions of counts and sizes, and the one that asks torch for them."""

import math
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass

from editbench.errors import UserError

GIB = 2**30

WEIGHTS_FACTOR = 1.05
"""Memory of loaded weights per byte of checkpoint, buffers included."""

RESERVE_BYTES = 3 * GIB
"""Per device: CUDA context, activations and the KV cache of a batch."""


@dataclass(frozen=True)
class Device:
    """A GPU of this node: its name for torch, and its memory in bytes."""

    name: str
    total_bytes: int
    free_bytes: int


def usable_devices(device_ids: list[int] | None) -> list[str]:
    """Name the CUDA devices that this process may use, in the order of `device_ids`; empty on a CPU machine.

    Raises:
        UserError: `device_ids` names a device that is not there.
    """
    import torch

    count = torch.cuda.device_count()
    if count == 0 and os.environ.get("CUDA_VISIBLE_DEVICES") != "" and _lists_gpus():
        raise UserError(
            "nvidia-smi lists GPUs, but torch can use none of them: install a torch that fits the driver, or set "
            "CUDA_VISIBLE_DEVICES= to run on the CPU"
        )
    ids = list(range(count)) if device_ids is None else device_ids
    missing = [i for i in ids if i >= count]
    if missing:
        raise UserError(f"device_ids={device_ids}: device {missing[0]} is not there; this node shows {count} GPUs")
    return [f"cuda:{i}" for i in ids]


def _lists_gpus() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU " in listed.stdout


def use(name: str) -> None:
    """Make a CUDA device the current one of this process, for libraries that do not name theirs."""
    import torch

    if name.startswith("cuda"):
        torch.cuda.set_device(name)


def describe(names: list[str]) -> str:
    """Say what a process works on, e.g. `cuda:0 NVIDIA H100 80GB HBM3`; `idle` for no device."""
    import torch

    models = [f"{name} {torch.cuda.get_device_name(name)}" if name.startswith("cuda") else name for name in names]
    return " + ".join(models) or "idle"


def measure(names: list[str]) -> list[Device]:
    """Ask the devices for their memory; opens a CUDA context on each, so one process of a node does it for all."""
    import torch

    measured = []
    for name in names:
        free, total = torch.cuda.mem_get_info(name)
        measured.append(Device(name, total, free))
    return measured


def edit_device(local_rank: int, local_world_size: int, names: list[str]) -> str:
    """Device of a rank in phase 1: its own, or the CPU where there is no GPU.

    Raises:
        UserError: the node has GPUs, but fewer than processes.
    """
    if not names:
        return "cpu"
    if local_world_size > len(names):
        raise UserError(
            f"{local_world_size} processes on this node, but {len(names)} GPUs to use; "
            f"start with --nproc_per_node={len(names)} (NPROC_PER_NODE={len(names)} ./launch.sh)"
        )
    return names[local_rank]


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


def auto_batch_size(total_bytes: int | None) -> int:
    """Samples per batch by the memory of one GPU: 2 below 24 GB, 4 to 48, 8 to 80, 16 above; 4 on a CPU.

    A card sold as 24 GB shows a little less, so its memory is rounded up to whole GiB.
    """
    if total_bytes is None:
        return 4
    gib = math.ceil(total_bytes / GIB)
    return 2 if gib < 24 else 4 if gib <= 48 else 8 if gib <= 80 else 16


def empty_cache() -> None:
    """Give unused memory of torch's CUDA allocator back, so that a smaller batch may fit."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_gib(device: str) -> float:
    """Most memory this process has used so far, in GiB: of its GPU, or of the host with the files it has mapped."""
    import torch

    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / GIB, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB, 3)


def is_lost(error: Exception) -> bool:
    """Whether an error has left the process's CUDA context unusable; running out of memory does not."""
    import torch

    return isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)


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
