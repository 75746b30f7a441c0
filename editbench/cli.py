"""What the commands share: their command line, and what a user sees when something is wrong."""

import argparse
import errno
import logging
import os
import sys
import time
from collections.abc import Callable

from editbench import config as configuration
from editbench.config import CONF_DIR, Config
from editbench.errors import UserError

EXIT_USER_ERROR = 2
_SECONDS_FOR_LOCAL_RANK_0 = 10
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
        config = configuration.load(arguments.overrides, arguments.config_dir)
        if uses_components:
            configuration.check_components(config)
        main(config)
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_ROOM:
            raise
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # Every rank finds the same mistake. torchrun ends all when the first one exits: let that be the
            # one that says it.
            time.sleep(_SECONDS_FOR_LOCAL_RANK_0)
        else:
            logger.debug("", exc_info=error)
            print(f"error: {_sentence(error)}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(EXIT_USER_ERROR)


def _sentence(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    where = f" at {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}; make room and start again, nothing that was written is lost"


def _epilog() -> str:
    groups = [
        f"  {group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}"
        for group in sorted(CONF_DIR.iterdir())
        if group.is_dir()
    ]
    return "choices under conf/ (group=choice):\n" + "\n".join(groups)
