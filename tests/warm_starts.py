"""Starts commands as forks of one process that has imported everything, instead of importing torch anew for each.

Run by `running.py`, once for each process of pytest. A request is a line of JSON on its input: `arguments` as they
would stand behind `python`, `folder`, `environment`, and `output`, the file that takes all that is printed. It answers
with the process id at once, and with the exit code at the end; a request at a time.

torchrun is the real one, its rendezvous, watching and exit codes too; only its workers are forked, which torch offers
as `start_method="fork"`. Whatever is about signals, killed processes or the start itself needs a real start.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed.run as torchrun
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline  # noqa: F401
from transformers import (  # noqa: F401
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
)

import editbench


def import_rooms() -> None:
    """Import all but the modules at the top, which are run as `__main__`, and what starts threads (pyarrow)."""
    for module in pkgutil.walk_packages(editbench.__path__, "editbench."):
        if module.name.count(".") == 2 and module.name != "editbench.datasets.column_files":
            importlib.import_module(module.name)


def next_request() -> dict[str, Any]:
    """Fork for each request; returns in the child alone."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def become(request: dict[str, Any]) -> None:
    """Take on the folder, environment and output of the command; a session of its own."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    silence = os.open(os.devnull, os.O_RDONLY)
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
    for number, file in enumerate((silence, output, output)):
        os.dup2(file, number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)


def run(*arguments: str) -> None:
    """Run `-m module ...`, or `script ...`, as Python does."""
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = list(arguments[1:]), str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = list(arguments), str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


def exit_code(command: Callable[[], None]) -> int:
    """What Python would end with, after it has printed its traceback."""
    try:
        command()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def work(*arguments: str) -> None:
    """One rank, forked by torchrun, which takes it for done when it returns."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    code = exit_code(lambda: run(*arguments))
    if code:
        end(code)


def end(code: int) -> NoReturn:
    """End as Python does, but for the taking apart of all modules, which takes longer than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(code)


def fork_workers(arguments: Any) -> tuple[Any, Any, list[str]]:
    """What torchrun makes of its command line, with a function to fork in place of a program to start."""
    config, _, command = config_from_args(arguments)
    config.start_method = "fork"
    return config, work, command[command.index("-u") + 1 :]


def act(arguments: list[str]) -> None:
    """Be the command: torchrun, or any other."""
    if arguments[:2] == ["-m", "torch.distributed.run"]:
        torchrun.main(arguments[2:])
    else:
        run(*arguments)


if __name__ == "__main__":
    import_rooms()
    assert torch.get_num_threads() == 1 and len([*Path("/proc/self/task").iterdir()]) == 1, (
        "a fork would lose the threads"
    )
    gc.freeze()  # what is here stays, and is looked at by no child
    config_from_args, torchrun.config_from_args = torchrun.config_from_args, fork_workers
    wanted = next_request()
    become(wanted)
    end(exit_code(lambda: act(wanted["arguments"])))
