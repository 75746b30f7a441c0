"""Which device each process uses, by counts and sizes, and what torch, CUDA and NVML tell of the devices.

    python -m editbench.distributed.devices device_ids=[0,2]

prints how many processes ./launch.sh is to start on this node.
"""

import contextlib
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from editbench.errors import UserError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

GIB = 2**30

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

    _let_segments_grow()
    count = torch.cuda.device_count()
    if count == 0 and visible_gpus():
        raise UserError(
            "nvidia-smi lists GPUs, but torch can use none of them: install a torch that fits the driver, or set "
            "CUDA_VISIBLE_DEVICES= to run on the CPU"
        )
    ids = list(range(count)) if device_ids is None else device_ids
    missing = [i for i in ids if i >= count]
    if missing:
        raise UserError(f"device_ids={device_ids}: device {missing[0]} is not there; this node shows {count} GPUs")
    return [f"cuda:{i}" for i in ids]


def visible_gpus() -> int:
    """Count the node's GPUs that the driver lists and CUDA_VISIBLE_DEVICES lets us use; asks no CUDA.

    As in CUDA, what stands behind an entry that names no device (an empty one, -1, NoDevFiles) does not count, and
    a device named twice hides all.
    """
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None or count == 0:
        return count
    shown: list[str] = []
    for entry in map(str.strip, wanted.split(",")):
        if not entry.startswith(("GPU-", "MIG-")) and not (entry.isdecimal() and int(entry) < count):
            break
        shown.append(entry)
    return len(shown) if len(set(shown)) == len(shown) else 0


def processes(overrides: Sequence[str]) -> int:
    """Count the processes of a node: one per GPU that the overrides and CUDA let us use, 2 without a GPU."""
    given = [override.lstrip("+").strip(" '\"") for override in overrides]
    chosen = [override for override in given if override.startswith("device_ids=")][-1:]
    visible = visible_gpus()
    if visible and chosen and chosen[0].endswith("]"):
        return chosen[0].count(",") + 1
    return visible or 2


def use(name: str) -> None:
    """Make a CUDA device the current one of this process, for libraries that do not name theirs."""
    import torch

    if name.startswith("cuda"):
        _let_segments_grow()
        torch.cuda.set_device(name)


def _let_segments_grow() -> None:
    """Keep torch's CUDA memory from being cut to pieces by images of many sizes; read when CUDA is first used."""
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ):
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


def describe(names: list[str]) -> str:
    """Say what a process works on, e.g. `cuda:0 NVIDIA H100 80GB HBM3`; `idle` for no device."""
    import torch

    models = [f"{name} {torch.cuda.get_device_name(name)}" if name.startswith("cuda") else name for name in names]
    return " + ".join(models) or "idle"


def measure(names: list[str]) -> list[Device]:
    """Measure the devices' memory, by NVML: torch would open a CUDA context of half a GiB on each of them."""
    import torch

    _let_segments_grow()
    measured = []
    for name in names:
        properties = torch.cuda.get_device_properties(name)
        free = _free_by_nvml(name, str(properties.uuid))
        if free is None:
            free = torch.cuda.mem_get_info(name)[0]
        measured.append(Device(name, properties.total_memory, min(free, properties.total_memory)))
    return measured


def _free_by_nvml(name: str, uuid: str) -> int | None:
    """Bytes that are free on a device; None where NVML is not there, or does not know the device.

    Devices are matched by UUID: NVML numbers all of the node's by their bus, CUDA the visible ones by its own order.
    """
    try:
        import pynvml
    except ImportError:
        return None
    free = None
    for kind in ("GPU", "MIG"):
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
            free = int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
            busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
            if busy > 10:
                logger.warning(
                    "%s (%s) is busy at %d %% already: others use it", name, pynvml.nvmlDeviceGetName(handle), busy
                )
            break
    return free


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


def again_with_room(work: Callable[[], Result]) -> Result:
    """Do something on a GPU; where that has no room, once more after torch has given back what it keeps unused."""
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("out of GPU memory, tried once more: %s", str(error).partition("\n")[0])
    empty_cache()  # outside the except clause: the exception holds on to tensors
    return work()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a GPU had no room; cuBLAS, cuDNN and the driver say so with errors of their own."""
    import torch

    told = ("ALLOC_FAILED", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in told)


def is_lost(error: Exception) -> bool:
    """Whether an error has left a CUDA context of this process unusable; running out of memory does not.

    The error's type does not tell: cuBLAS, cuDNN and Triton raise plain RuntimeErrors, and whatever comes next may
    raise for a kernel that failed before. A lost context fails at everything, so it is asked to finish its work.
    """
    import torch

    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):  # the others have no context, and would be given one
                torch.cuda.synchronize(index)
    except RuntimeError:
        return True
    return False


if __name__ == "__main__":
    sys.stdout.write(f"{processes(sys.argv[1:])}\n")
