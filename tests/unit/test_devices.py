"""Placement of the judge's replicas on every node we know of, without a GPU."""

import math
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CHECKOUT, run_python

from editbench.distributed.devices import (
    GIB,
    Device,
    again_with_room,
    edit_device,
    is_lost,
    measure,
    processes,
    usable_devices,
    visible_gpus,
)
from editbench.errors import UserError
from editbench.judges.placement import auto_batch_size, place_replicas

GB = 10**9

# What torch shows of cards by the size they are sold as, in GiB.
TOTAL_GIB = {24: 23.69, 48: 47.54, 80: 79.15, 141: 139.8}


def node(count, size):
    """Devices of a card's size with two hundredths in use, as a fresh process finds them."""
    total = int(TOTAL_GIB[size] * GIB)
    return [Device(f"cuda:{i}", total, int(0.98 * total)) for i in range(count)]


def replicas_of(placement):
    return [replica for replica in placement if replica]


# Devices that one replica needs. By hand: checkpoint x 1.05 over (0.98 x total - 3 GiB), rounded up;
#   16 GB: 15.6 GiB; 60 GB: 58.7 GiB; 470 GB: 459.6 GiB
#   24 -> 20.2 GiB, 48 -> 43.6 GiB, 80 -> 74.6 GiB, 141 -> 134.0 GiB a device
NEEDED = {
    (16, 24): 1,
    (16, 48): 1,
    (16, 80): 1,
    (16, 141): 1,
    (60, 24): 3,
    (60, 48): 2,
    (60, 80): 1,
    (60, 141): 1,
    (470, 24): 23,
    (470, 48): 11,
    (470, 80): 7,
    (470, 141): 4,
}


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize(("checkpoint_gb", "size"), NEEDED)
def test_a_process_per_device_holds_as_many_replicas_as_fit_and_no_device_is_shared(checkpoint_gb, size, count):
    needed = NEEDED[checkpoint_gb, size]
    devices = node(count, size)
    if needed > count:
        with pytest.raises(UserError, match=rf"does not fit the {count} GPUs to use"):
            place_replicas(checkpoint_gb * GB, devices, count, "auto")
        return
    placement = place_replicas(checkpoint_gb * GB, devices, count, "auto")
    replicas = replicas_of(placement)
    assert len(placement) == count
    assert len(replicas) == count // needed
    assert [len(replica) for replica in replicas] == [needed] * len(replicas)
    used = [name for replica in replicas for name in replica]
    assert len(used) == len(set(used))
    assert set(used) <= {device.name for device in devices}


@pytest.mark.parametrize(
    ("checkpoint_gb", "count", "size", "processes", "expected"),
    [
        # fits one device: every process has its own
        (60, 6, 80, 6, [["cuda:0"], ["cuda:1"], ["cuda:2"], ["cuda:3"], ["cuda:4"], ["cuda:5"]]),
        # fewer processes than devices: spread over the node
        (60, 6, 80, 2, [["cuda:0"], ["cuda:3"]]),
        (60, 8, 80, 3, [["cuda:0"], ["cuda:2"], ["cuda:5"]]),
        (60, 8, 80, 1, [["cuda:0"]]),
        # more processes than devices: some stay idle, evenly
        (60, 2, 80, 4, [["cuda:0"], [], ["cuda:1"], []]),
        (60, 2, 80, 3, [["cuda:0"], [], ["cuda:1"]]),
        (60, 1, 80, 3, [["cuda:0"], [], []]),
        # needs several: the first process of each run holds the replica
        (60, 6, 48, 6, [["cuda:0", "cuda:1"], [], ["cuda:2", "cuda:3"], [], ["cuda:4", "cuda:5"], []]),
        (60, 7, 24, 7, [["cuda:0", "cuda:1", "cuda:2"], [], [], [], ["cuda:3", "cuda:4", "cuda:5"], [], []]),
        (60, 8, 24, 1, [["cuda:0", "cuda:1", "cuda:2"]]),
        (60, 8, 24, 2, [["cuda:0", "cuda:1", "cuda:2"], ["cuda:4", "cuda:5", "cuda:6"]]),
        (470, 8, 80, 8, [[f"cuda:{i}" for i in range(7)], *[[]] * 7]),
        (470, 8, 141, 2, [[f"cuda:{i}" for i in range(4)], [f"cuda:{i}" for i in range(4, 8)]]),
    ],
)
def test_placements_in_full(checkpoint_gb, count, size, processes, expected):
    assert place_replicas(checkpoint_gb * GB, node(count, size), processes, "auto") == expected


@given(
    count=st.integers(1, 16),
    processes=st.integers(1, 20),
    wanted=st.integers(1, 16),
)
def test_any_placement_is_disjoint_complete_and_evenly_spread(count, processes, wanted):
    devices = node(count, 80)
    if wanted > count:
        with pytest.raises(UserError, match=rf"judge\.devices_per_replica={wanted}, but this node has {count} GPUs"):
            place_replicas(GB, devices, processes, wanted)
        return
    placement = place_replicas(GB, devices, processes, wanted)
    replicas = replicas_of(placement)
    assert len(placement) == processes
    assert len(replicas) == min(processes, count // wanted)
    used = [name for replica in replicas for name in replica]
    assert len(used) == len(set(used)) == wanted * len(replicas)
    owners = [rank for rank, replica in enumerate(placement) if replica]
    gaps = [after - before for before, after in zip(owners, [*owners[1:], processes], strict=True)]
    assert owners[0] == 0
    assert max(gaps) - min(gaps) <= 1
    firsts = [int(replica[0].removeprefix("cuda:")) for replica in replicas]
    steps = [after - before for before, after in zip(firsts, [*firsts[1:], count], strict=True)]
    assert max(steps) - min(steps) <= 1


def test_devices_keep_the_order_they_are_given_in():
    devices = node(4, 80)[::-1]
    assert place_replicas(GB, devices, 2, "auto") == [["cuda:3"], ["cuda:1"]]


def test_the_device_with_least_free_memory_counts_for_all():
    devices = node(4, 80)
    devices[2] = Device("cuda:2", devices[2].total_bytes, 40 * GIB)
    assert replicas_of(place_replicas(60 * GB, devices, 4, "auto")) == [["cuda:0", "cuda:1"], ["cuda:2", "cuda:3"]]


def test_devices_that_others_have_filled_are_an_error():
    full = [Device("cuda:0", 80 * GIB, 2 * GIB)]
    with pytest.raises(UserError, match="56 GiB does not fit the 1 GPUs to use with 2 GiB free each"):
        place_replicas(60 * GB, full, 1, "auto")


def test_the_error_says_what_to_do():
    with pytest.raises(UserError, match=r"checkpoint of 438 GiB .*; use more or larger GPUs, or a smaller judge"):
        place_replicas(470 * GB, node(6, 80), 6, "auto")


def test_a_judge_without_a_checkpoint_takes_one_device_each():
    assert place_replicas(0, node(2, 24), 2, "auto") == [["cuda:0"], ["cuda:1"]]


def test_devices_per_replica_can_be_more_than_needed():
    assert place_replicas(16 * GB, node(4, 80), 4, 2) == [["cuda:0", "cuda:1"], [], ["cuda:2", "cuda:3"], []]


@pytest.mark.parametrize("processes", [1, 2, 6])
def test_without_gpus_every_process_holds_a_replica_on_the_cpu(processes):
    assert place_replicas(60 * GB, [], processes, "auto") == [["cpu"]] * processes


@pytest.mark.parametrize(
    ("gib", "batch_size"),
    [
        (11.0, 2),
        (22.06, 2),  # A10G, L4
        (23.0, 2),
        (23.69, 4),  # RTX 3090
        (23.99, 4),  # RTX 4090
        (24.0, 4),
        (39.4, 4),
        (47.5, 4),
        (48.0, 4),
        (48.01, 8),
        (79.1, 8),
        (80.0, 8),
        (80.01, 16),
        (93.1, 16),
        (139.8, 16),
        (178.4, 16),
    ],
)
def test_batch_size_by_the_table_of_gpu_memory(gib, batch_size):
    assert auto_batch_size(int(gib * GIB)) == batch_size


def test_batch_size_on_a_cpu_is_4():
    assert auto_batch_size(None) == 4


@pytest.mark.parametrize(
    ("local_rank", "local_world_size", "names", "expected"),
    [
        (0, 1, ["cuda:0"], "cuda:0"),
        (1, 2, ["cuda:3", "cuda:1"], "cuda:1"),
        (1, 2, ["cuda:0", "cuda:1", "cuda:2"], "cuda:1"),
        (5, 6, [], "cpu"),
    ],
)
def test_each_rank_edits_on_its_own_device(local_rank, local_world_size, names, expected):
    assert edit_device(local_rank, local_world_size, names) == expected


@pytest.mark.parametrize("local_rank", [0, 2])
def test_more_processes_than_gpus_is_an_error_on_every_rank(local_rank):
    with pytest.raises(UserError, match=r"3 processes on this node, but 2 GPUs .* --nproc_per_node=2"):
        edit_device(local_rank, 3, ["cuda:0", "cuda:1"])


class FakeCuda:
    """Shows CUDA devices by their UUIDs, all of 80 GiB with 30 free; in place of torch's, which is not loaded here."""

    def __init__(self, *uuids, broken=()):
        self.uuids, self.broken, self.contexts, self.emptied = uuids, broken, [], 0

    def device_count(self):
        return len(self.uuids)

    def is_initialized(self):
        return bool(self.uuids)

    is_available = is_initialized

    def empty_cache(self):
        self.emptied += 1

    def get_device_properties(self, name):
        return SimpleNamespace(uuid=self.uuids[int(name[5:])], total_memory=80 * GIB)

    def mem_get_info(self, name):
        self.contexts.append(name)
        return 30 * GIB, 80 * GIB

    def memory_reserved(self, index):
        return int(index < 2)

    def synchronize(self, index):
        self.contexts.append(index)
        if index in self.broken:
            raise RuntimeError("CUDA error: unspecified launch failure")


class AcceleratorError(RuntimeError):
    pass


class OutOfMemoryError(RuntimeError):
    pass


@pytest.fixture
def show(monkeypatch):
    """Give torch these devices, and a PATH with an nvidia-smi that lists so many."""

    def show(*uuids, listed=0, broken=()):
        cuda = FakeCuda(*uuids, broken=broken)
        torch = SimpleNamespace(cuda=cuda, AcceleratorError=AcceleratorError, OutOfMemoryError=OutOfMemoryError)
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr("shutil.which", lambda name: name if listed else None)
        output = "".join(f"GPU {i}: NVIDIA H100 (UUID: GPU-{i})\n" for i in range(listed))
        monkeypatch.setattr("subprocess.run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=output))
        return cuda

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "")  # as if the user had chosen
    return show


@pytest.mark.parametrize(
    ("count", "device_ids", "expected"),
    [
        (0, None, []),
        (2, None, ["cuda:0", "cuda:1"]),
        (4, [3, 1], ["cuda:3", "cuda:1"]),
        (4, [0], ["cuda:0"]),
    ],
)
def test_usable_devices_are_all_or_those_that_were_chosen(show, count, device_ids, expected):
    show(*"abcd"[:count])
    assert usable_devices(device_ids) == expected


@pytest.mark.parametrize(("count", "device_ids", "missing"), [(0, [0], 0), (2, [0, 2], 2), (2, [7, 1], 7)])
def test_a_chosen_device_that_is_not_there_is_named(show, count, device_ids, missing):
    show(*"abcd"[:count])
    with pytest.raises(UserError, match=rf"device {missing} is not there; this node shows {count} GPUs"):
        usable_devices(device_ids)


@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        *[(None, 4), ("0,1", 2), (" 3 , 1", 2), ("GPU-a1,GPU-b2", 2), ("MIG-a", 1)],
        *[("", 0), ("-1", 0), ("NoDevFiles", 0), ("none", 0), ("0,-1,2", 1), ("0,,2", 1), ("1,4", 1), ("2,2", 0)],
    ],
)
def test_gpus_are_hidden_in_every_way_that_cuda_knows(show, monkeypatch, hidden, visible):
    show(listed=4)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus() == visible
    if visible:
        with pytest.raises(UserError, match="nvidia-smi lists GPUs, but torch can use none of them"):
            usable_devices(None)
    else:
        assert usable_devices(None) == []


class FakeNvml(ModuleType):
    """Knows these devices: (bytes in use, percent busy) by UUID."""

    class NVMLError(Exception):
        pass

    def __init__(self, known, driver=True):
        super().__init__("pynvml")
        self.known, self.driver = known, driver

    def nvmlInit(self):  # noqa: N802
        if not self.driver:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        if uuid not in self.known:
            raise self.NVMLError("not found")
        return uuid

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return "NVIDIA H100"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=81 * GIB, free=81 * GIB - self.known[handle][0])

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        if handle.startswith("MIG"):
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=self.known[handle][1])


def test_memory_is_measured_without_a_context_whatever_order_cuda_shows_devices_in(show, monkeypatch, caplog):
    cuda = show("b", "a", "m")
    known = {"GPU-a": (7 * GIB, 0), "GPU-b": (50 * GIB, 90), "GPU-c": (9 * GIB, 99), "MIG-m": (71 * GIB, 0)}
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(known))
    free = {device.name: device.free_bytes // GIB for device in measure(["cuda:0", "cuda:1", "cuda:2"])}
    assert free == {"cuda:0": 31, "cuda:1": 74, "cuda:2": 10}
    assert measure(["cuda:1"]) == [Device("cuda:1", 80 * GIB, 74 * GIB)]
    assert cuda.contexts == []
    assert [record.getMessage() for record in caplog.records] == [
        "cuda:0 (NVIDIA H100) is busy at 90 % already: others use it"
    ]


@pytest.mark.parametrize("nvml", [None, FakeNvml({}, driver=False), FakeNvml({"GPU-b": (GIB, 0)})])
def test_torch_is_asked_for_memory_that_nvml_does_not_know(show, monkeypatch, nvml):
    cuda = show("a")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert measure(["cuda:0"]) == [Device("cuda:0", 80 * GIB, 30 * GIB)]
    assert cuda.contexts == ["cuda:0"]


@pytest.mark.parametrize("chosen", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_segments_can_grow_unless_the_user_has_chosen(show, monkeypatch, chosen):
    show()
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "")  # so that it is taken back after the test
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    if chosen:
        monkeypatch.setenv(chosen, "backend:native")
    usable_devices(None)
    found = {name: os.environ[name] for name in os.environ if name.endswith("_ALLOC_CONF")}
    assert found == ({chosen: "backend:native"} if chosen else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"})


@pytest.mark.parametrize(
    ("error", "broken", "lost"),
    [
        (AcceleratorError("CUDA error: an illegal memory access was encountered"), [], True),
        (RuntimeError("cuBLAS error: CUBLAS_STATUS_EXECUTION_FAILED"), [0], True),
        (
            RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
            [1],
            True,
        ),  # of a replica on two
        (ValueError("the image has 0 bytes"), [0], True),  # a kernel before it has failed
        (RuntimeError("shapes do not fit"), [], False),
        (RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED"), [0], False),
        (AcceleratorError("CUDA error: out of memory"), [], False),
        (OutOfMemoryError("CUDA out of memory"), [], False),
    ],
)
def test_a_context_is_lost_where_it_cannot_finish_its_work(show, error, broken, lost):
    cuda = show(*"abc", broken=broken)
    assert is_lost(error) is lost
    assert 2 not in cuda.contexts  # where this process has no memory, it has no context


def test_without_cuda_nothing_is_lost(show):
    show()
    assert not is_lost(RuntimeError("shapes do not fit"))


@pytest.mark.parametrize("failures", [1, 2])
def test_what_ran_out_of_memory_is_tried_once_more_with_an_empty_cache(show, failures):
    cuda = show("a")
    errors = [OutOfMemoryError("CUDA out of memory")] * failures

    def work():
        if errors:
            raise errors.pop()
        return cuda.emptied

    if failures == 1:
        assert again_with_room(work) == 1
    else:
        with pytest.raises(OutOfMemoryError):
            again_with_room(work)
    with pytest.raises(ValueError, match="invalid literal"):
        again_with_room(lambda: int("x"))
    assert cuda.emptied == 1


def test_counting_devices_for_the_launcher_needs_no_torch_until_one_is_asked_for():
    code = "import sys, editbench.distributed.devices; print('torch' in sys.modules)"
    assert run_python(["-c", code], CHECKOUT).output == "False\n"


def test_the_needed_devices_of_this_file_follow_the_formula():
    for (checkpoint_gb, size), needed in NEEDED.items():
        usable = 0.98 * TOTAL_GIB[size] - 3
        assert needed == math.ceil(checkpoint_gb * GB * 1.05 / GIB / usable)


@pytest.mark.parametrize(
    "override", ["device_ids=[0,2]", "++device_ids=[0,2]", "'device_ids=[0,2]'", "device_ids=[0,2] "]
)
def test_the_launcher_counts_chosen_devices_however_they_are_written(monkeypatch, override):
    monkeypatch.setattr("editbench.distributed.devices.visible_gpus", lambda: 4)
    assert processes([override]) == 2
