"""The device that is measured on: its name, what it can do at best, its clock, and the time that is left."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from bench.measure import Row
from editbench.distributed import devices

LEAVE_OFF_AFTER_S = 480
"""Nothing is begun later than this, so that a call ends within ten minutes."""

_BEGAN = time.monotonic()


@dataclass(frozen=True)
class Rates:
    """What a device does at best: floating-point operations, and bytes read and written, a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Card:
    """What is measured on: device, its name, the type of weights, its rates; `quick`: tiny architectures."""

    device: str
    name: str
    dtype: str
    rates: Rates
    quick: bool

    @classmethod
    def find(cls, quick: bool) -> Self:
        """Take the first GPU, or the CPU where there is none, and measure its rates."""
        import torch

        device = next(iter(devices.usable_devices(None)), "cpu")
        devices.use(device)
        on_gpu = device != "cpu"
        name = torch.cuda.get_device_name(device) if on_gpu else "CPU"
        rates = measure_rates(device, small=quick or not on_gpu)
        return cls(device, name, "bfloat16" if on_gpu else "float32", rates, quick)

    def forget_peak(self) -> None:
        """Begin a new measurement of peak memory."""
        import torch

        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> str:
        """Peak memory since, in words."""
        return f"peak memory {devices.peak_gib(self.device):.1f} GiB"

    def free(self) -> None:
        """Give back the memory of what nobody holds any more."""
        gc.collect()
        devices.empty_cache()


def is_late() -> bool:
    """Whether nothing more may be begun."""
    return time.monotonic() - _BEGAN > LEAVE_OFF_AFTER_S


def left_out(what: str) -> Row:
    """The row of what was not begun."""
    return Row(what, "", None, note="no time was left within ten minutes; measure it alone by --only")


def measure_rates(device: str, small: bool = False) -> Rates:
    """Measure the best of three tries each: products of 8192 x 8192 matrices, copies of 1 GiB; less if `small`."""
    import torch

    size, times = (256, 5) if small else (8192, 50)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product_s = _best_s(lambda: a @ b, times, device)
    here, there = (torch.zeros(2**22 if small else 2**30, device=device, dtype=torch.uint8) for _ in range(2))
    copy_s = _best_s(lambda: there.copy_(here), times, device)
    return Rates(2 * size**3 / product_s, 2 * here.numel() / copy_s)


def _best_s(work: Callable[[], Any], times: int, device: str) -> float:
    for _ in range(times):
        work()  # the card takes a moment to reach its clock
    best = float("inf")
    for _ in range(3):
        began = mark(device)
        for _ in range(times):
            work()
        best = min(best, seconds_between(began, mark(device)) / times)
    return best


def mark(device: str) -> Any:
    """A point in a device's time: an event on a GPU, which works on behind our back; the clock on a CPU."""
    import torch

    if not device.startswith("cuda"):
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(began: Any, ended: Any) -> float:
    """Seconds between two marks; waits for the second."""
    if isinstance(began, float):
        return float(ended - began)
    ended.synchronize()
    return float(began.elapsed_time(ended)) / 1000
