"""Host memory that a process can still have, and how many processes may load a model with it at a time."""

from pathlib import Path


def concurrent_loads(limit: int | str, copied_bytes: int, available_bytes: int, processes: int) -> int:
    """How many processes of a node load their model at the same time.

    Args:
        limit: From the configuration; `auto`: as many as four fifths of the host's memory take.
        copied_bytes: Host memory that each load takes for itself; 0 if nothing large.
        available_bytes: Host memory that can be had.
        processes: Processes on this node.
    """
    if isinstance(limit, int):
        return min(limit, processes)
    if copied_bytes == 0:
        return processes
    return max(1, min(processes, int(0.8 * available_bytes) // copied_bytes))


def available_host_memory() -> int:
    """Bytes of host memory that can be had: what is free, or what the cgroup (a Slurm job, a container) leaves."""
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_cgroup_room()]))


def _cgroup_room(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes left in the process's memory cgroup (version 1 or 2) and in each one above it that has a limit."""
    rooms = []
    for line in proc.read_text().splitlines() if proc.exists() else []:
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / "memory" if controllers else root
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        folder = base / name.lstrip("/")
        for place in (folder, *folder.parents):
            limit, used = (place / file for file in files)
            if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
                rooms.append(int(text) - int(used.read_text()))
            if place == base:
                break
    return rooms
