"""What the commands share: their command line, and what a user sees when something is wrong."""

import argparse
import contextlib
import errno
import logging
import os
import sys
import time
import traceback
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from editbench.components.check import check_components
from editbench.config import load as configuration
from editbench.config.options import read as read_options
from editbench.config.places import CONF_DIR
from editbench.config.schema import Config
from editbench.errors import EXIT_PEER_LOST, EXIT_USER_ERROR, PeerLostError, UserError
from editbench.text import hide, learn_secrets, printable

_SECONDS_FOR_THE_OTHERS = 3
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

logger = logging.getLogger(__name__)


def run(main: Callable[[Config], int | None], description: str | None, uses_components: bool = True) -> None:
    """Run a command: read its configuration, call it, and end the process with an exit code.

    A `UserError` is printed as a sentence, by the first rank of each node alone, and ends with exit code 2.

    Args:
        main: The command; returns the exit code, None for 0.
        description: Its module's docstring, shown by `--help`.
        uses_components: Whether the classes of dataset, editor and judge are imported and checked.
    """
    parser = _parser(description, _epilog())
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
    parser.add_argument("--config-dir", help="folder of your own YAMLs, laid out as conf/, searched beside it")
    arguments = parser.parse_intermixed_args()
    _end_with(lambda: main(_load(arguments.overrides, arguments.config_dir, uses_components)))


def run_with_options(main: Callable[[Any], int | None], options: type[Any], description: str | None) -> None:
    """Run a command that looks at finished runs; ends the process as `run` does.

    Args:
        main: The command, called with its options; returns the exit code, None for 0.
        options: Dataclass of what can be given as `key=value`.
        description: Its module's docstring, shown by `--help`.
    """
    parser = _parser(description, "")
    parser.add_argument("options", nargs="*", metavar="key=value", help=", ".join(typing.get_type_hints(options)))
    arguments = parser.parse_args()
    _end_with(lambda: main(read_options(options, arguments.options)))


def _parser(description: str | None, epilog: str) -> argparse.ArgumentParser:
    kind = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, epilog=epilog, formatter_class=kind)


def _end_with(command: Callable[[], int | None]) -> None:
    """Call a command, say what went wrong if something did, and end the process if the exit code is not 0."""
    try:
        code = command() or 0
    except UserError as error:
        _say(error)
        code = EXIT_PEER_LOST if isinstance(error, PeerLostError) else EXIT_USER_ERROR
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            _say(_no_room(error))
            code = EXIT_USER_ERROR
        else:
            logger.debug("ends with an error", exc_info=error)
            text = "".join(traceback.format_exception(error))
            print(hide(printable(text, kept="\n\t")), file=sys.stderr, end="")  # noqa: T201
            code = 1
    if code:
        _end(code)


def _end(code: int) -> NoReturn:
    """End at once: after a failure threads can be waiting for other processes, and the interpreter for them."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the terminal can be gone
            stream.flush()
    os._exit(code)


def _no_room(error: OSError) -> UserError:
    where = f" at {error.filename}" if error.filename else ""
    what_to_do = "choose another run_dir" if error.errno == errno.EROFS else "make room and start again"
    return UserError(f"{error.strerror}{where}; {what_to_do}, nothing that was written is lost")


def _load(overrides: list[str], config_dir: str | None, uses_components: bool) -> Config:
    try:
        config = configuration.load(overrides, config_dir)
        parts = [config.dataset, config.editor, config.judge, config.tracker]
        learn_secrets([part.kwargs for part in parts if part])
        if uses_components:
            configuration.refuse_nano_by_default(overrides, config)
            check_components(config)
    except UserError as error:
        error.on_all_ranks = True
        raise
    return config


def _say(error: UserError) -> None:
    """Print the sentence; where every rank has the same one, on the first rank of each node alone."""
    rank, is_first = os.environ.get("RANK", "0"), os.environ.get("LOCAL_RANK", "0") == "0"
    sentence = hide(printable(str(error), kept="\n"))
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
