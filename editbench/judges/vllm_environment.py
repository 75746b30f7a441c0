"""What the processes of vLLM's engine see of the machine: their own GPUs, and nothing of the job that started them.

With torchrun's variables the engine would look for its own rendezvous at the launcher's store and wait for ever.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from editbench.errors import UserError

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OF_TORCHRUN_TOO = ("GROUP_", "ROLE_", "TORCHELASTIC_")
"""Variables, and what names of further ones begin with, by which a process finds the others of a torchrun."""


def visible(devices: Sequence[str]) -> str:
    """The devices as CUDA_VISIBLE_DEVICES names them to a process that is to see no others.

    Raises:
        UserError: there is no GPU.
    """
    if not all(device.startswith("cuda") for device in devices):
        raise UserError(
            f"judge=vllm works on GPUs, and this process has {', '.join(devices)}; use judge=qwen3_vl there"
        )
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    numbers = [int(device.partition(":")[2] or 0) for device in devices]
    return ",".join(names[number] if names else str(number) for number in numbers)


@contextlib.contextmanager
def own_environment(gpus: str) -> Iterator[None]:
    """The environment in which the engine's processes are started: its own GPUs, and nothing of torchrun.

    Args:
        gpus: As `visible` gives them.
    """
    before = dict(os.environ)
    for name in before:
        if name in _OF_TORCHRUN or name.startswith(_OF_TORCHRUN_TOO):
            del os.environ[name]
    os.environ |= {
        "CUDA_VISIBLE_DEVICES": gpus,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",  # in this process it would join this job's process group
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
