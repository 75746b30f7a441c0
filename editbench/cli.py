"""What the commands share: their command line, and what a user sees when something is wrong."""

import argparse
import errno
import logging
import os
import sys
import time
from collections.abc import Callable

from editbench import config as configuration
from editbench.components import check_components
from editbench.config import CONF_DIR, Config
from editbench.errors import PeerLostError, UserError
from editbench.logs import printable

EXIT_USER_ERROR = 2
EXIT_PEER_LOST = 3
_SECONDS_FOR_THE_OTHERS = 10
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

logger = logging.getLogger(__name__)


def run(main: Callable[[Config], None], description: str | None, uses_components: bool = True) -> None:
    """Run a command: read its configuration, call it, and end the process with an exit code.

    A `UserError` is printed as a sentence, by the first rank of each node alone, and ends with exit code 2.

    Args:
        main: The command.
        description: Its module's docstring, shown by `--help`.
        uses_components: Whether the classes of dataset, editor and judge are imported and checked.
    """
    parser = argparse.ArgumentParser(
        description=description, epilog=_epilog(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
    parser.add_argument("--config-dir", help="folder of your own YAMLs, laid out as conf/, searched beside it")
    arguments = parser.parse_intermixed_args()
    try:
        config = _load(arguments.overrides, arguments.config_dir, uses_components)
        main(config)
    except UserError as error:
        _say(error)
        sys.exit(EXIT_PEER_LOST if isinstance(error, PeerLostError) else EXIT_USER_ERROR)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = f" at {error.filename}" if error.filename else ""
        what_to_do = "choose another run_dir" if error.errno == errno.EROFS else "make room and start again"
        _say(UserError(f"{error.strerror}{where}; {what_to_do}, nothing that was written is lost"))
        sys.exit(EXIT_USER_ERROR)


def _load(overrides: list[str], config_dir: str | None, uses_components: bool) -> Config:
    try:
        config = configuration.load(overrides, config_dir)
        if uses_components:
            check_components(config)
    except UserError as error:
        error.on_all_ranks = True
        raise
    return config


def _say(error: UserError) -> None:
    """Print the sentence; where every rank has the same one, on the first rank of each node alone."""
    rank, is_first = os.environ.get("RANK", "0"), os.environ.get("LOCAL_RANK", "0") == "0"
    sentence = printable(str(error), kept="\n")
    logger.debug("ends with: %s", sentence, exc_info=error)
    lost = isinstance(error, PeerLostError)
    if lost or (error.on_all_ranks and not is_first):
        # torchrun ends all ranks when the first one exits: let that be the one that has something to say.
        time.sleep(_SECONDS_FOR_THE_OTHERS)
    if is_first or not (lost or error.on_all_ranks):
        print(f"error: {sentence}" if rank == "0" else f"error: rank {rank}: {sentence}", file=sys.stderr, flush=True)  # noqa: T201


def _epilog() -> str:
    groups = [
        f"  {group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}"
        for group in sorted(CONF_DIR.iterdir())
        if group.is_dir()
    ]
    return "choices under conf/ (group=choice):\n" + "\n".join(groups)
