"""torchrun, with a failure told in one line.

    python scripts/torchrun.py --standalone --nproc_per_node=2 -m editbench.edit [overrides]

Takes torchrun's arguments. Where torchrun itself ends with a page of its own traceback and exit code 1 whatever
happened, this names the process that failed first and ends with that process's exit code, or 128 + n if signal n
killed it. What the process printed itself stays as it is.
"""

import logging
import socket
import sys

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import main as torchrun

USER_ERROR = 2  # exit code of a process that has said in a sentence what is wrong


def main(arguments: list[str]) -> int:
    """Run torchrun and return the exit code."""
    logging.disable(logging.ERROR)  # of this process alone; what matters comes as an exception
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        killed = failure.exitcode < 0
        how = f"was killed by {failure.signal_name()}" if killed else f"ended with code {failure.exitcode}"
        if failure.exitcode != USER_ERROR:
            print(f"{error.name}: rank {rank} on {socket.gethostname()} {how}", file=sys.stderr)
        return 128 - failure.exitcode if killed else failure.exitcode
    except SignalException as error:
        return 128 + int(error.sigval)
    except (RendezvousError, DistError) as error:  # another node did not come, or has ended
        print(f"torchrun on {socket.gethostname()}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
