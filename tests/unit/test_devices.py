"""Placement of the judge's replicas on every node we know of, without a GPU."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CHECKOUT, run_python

from editbench.distributed.devices import GIB, Device, auto_batch_size, edit_device, place_replicas, usable_devices
from editbench.errors import UserError

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


class FakeTorch:
    """Shows so many CUDA devices; in place of torch, which this test has no need to load."""

    def __init__(self, count):
        self.cuda = self
        self._count = count

    def device_count(self):
        return self._count


@pytest.mark.parametrize(
    ("count", "device_ids", "expected"),
    [
        (0, None, []),
        (2, None, ["cuda:0", "cuda:1"]),
        (4, [3, 1], ["cuda:3", "cuda:1"]),
        (4, [0], ["cuda:0"]),
    ],
)
def test_usable_devices_are_all_or_those_that_were_chosen(monkeypatch, count, device_ids, expected):
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(count))
    assert usable_devices(device_ids) == expected


@pytest.mark.parametrize(("count", "device_ids", "missing"), [(0, [0], 0), (2, [0, 2], 2), (2, [7, 1], 7)])
def test_a_chosen_device_that_is_not_there_is_named(monkeypatch, count, device_ids, missing):
    monkeypatch.setitem(sys.modules, "torch", FakeTorch(count))
    with pytest.raises(UserError, match=rf"device {missing} is not there; this node shows {count} GPUs"):
        usable_devices(device_ids)


def test_placing_needs_no_torch():
    code = (
        "import sys; from editbench.distributed.devices import *;"
        "place_replicas(10**9, [Device('cuda:0', 2**36, 2**36)], 1, 'auto'); print('torch' in sys.modules)"
    )
    assert run_python(["-c", code], CHECKOUT).output == "False\n"


def test_the_needed_devices_of_this_file_follow_the_formula():
    for (checkpoint_gb, size), needed in NEEDED.items():
        usable = 0.98 * TOTAL_GIB[size] - 3
        assert needed == math.ceil(checkpoint_gb * GB * 1.05 / GIB / usable)
