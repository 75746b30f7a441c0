"""How a process meets the others of its job, and what it says if they do not come."""

import contextlib
import datetime
import logging
import os
import queue
import threading

import torch.distributed as dist

from editbench.distributed.ranks import GIVEN_BY_LAUNCHERS, Ranks
from editbench.errors import UserError

_SECONDS_UNTIL_TOLD = 10
_SECONDS_OF_GRACE = 3
"""Torch's own limit comes first where it has one; as a client it tries twice as long."""

Met = queue.Queue[dist.Store | Exception]

logger = logging.getLogger(__name__)


def rendezvous(ranks: Ranks, timeout_s: int) -> dist.Store:
    """Form the job's process group on gloo.

    Args:
        ranks: Who this process is.
        timeout_s: Seconds to wait for the others.

    Returns:
        The job's key-value store.

    Raises:
        UserError: the others did not come.
    """
    if ranks.world_size == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "0")
    names = [name for name in (*GIVEN_BY_LAUNCHERS, "MASTER_ADDR", "MASTER_PORT") if name in os.environ]
    me = " ".join(f"{name}={os.environ[name]}" for name in names)
    advice = f"start all ranks, as torchrun does, or unset {' '.join(names)} if this process is to work alone"
    met: Met = queue.Queue()
    # In a thread, for torch waits where Python does not come, and signals reach the main thread alone.
    threading.Thread(target=_meet, args=(met, ranks, timeout_s), daemon=True).start()
    outcome: dist.Store | Exception = TimeoutError("timed out")
    try:
        outcome = met.get(timeout=min(_SECONDS_UNTIL_TOLD, timeout_s))
    except queue.Empty:
        logger.warning("%s: waiting for the other ranks, up to %d s; %s", me, timeout_s, advice)
        with contextlib.suppress(queue.Empty):
            outcome = met.get(timeout=max(0, timeout_s - _SECONDS_UNTIL_TOLD) + _SECONDS_OF_GRACE)
    if isinstance(outcome, Exception):
        cause = f"cannot be met ({str(outcome).splitlines()[0]})"
        if "imed out" in cause:
            cause = f"did not come within distributed.timeout_s={timeout_s}"
        raise UserError(f"{me}: the other ranks {cause}; {advice}") from outcome
    return outcome


def _meet(met: Met, ranks: Ranks, timeout_s: int) -> None:
    timeout = datetime.timedelta(seconds=timeout_s)
    try:
        store, _, _ = next(dist.rendezvous("env://", ranks.rank, ranks.world_size, timeout=timeout))
        store.set_timeout(timeout)
        if ranks.local_world_size == ranks.world_size:
            # torchrun's restart keeps the store, and with it the dead workers' addresses. With several nodes this
            # number is not the same on all; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each restart its own.
            store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group("gloo", store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=timeout)
        met.put(store)
    except Exception as error:
        met.put(error)
