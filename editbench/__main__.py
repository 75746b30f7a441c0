"""The command `editbench`: each of its commands is a module, and `python -m editbench.edit` is the same as
`editbench edit`."""

import difflib
import runpy
import sys

from editbench import __version__

COMMANDS = {
    "plan": "make the plan of a run, and fetch what it needs",
    "edit": "phase 1: edit every planned sample",
    "score": "phase 2: let the judge score every edited image",
    "report": "phase 3: statistics and reports",
    "compare": "tell which of several runs scores higher, and whether that is chance",
    "verify": "find what of a run is missing, damaged, stale or extra",
    "agree": "how well a judge agrees with people",
    "rate": "a local page on which a person rates edits",
    "export": "bring a run into the form that another tool reads",
}

USAGE = "\n".join(
    [
        "usage: editbench COMMAND [key=value ...]",
        "",
        *(f"  {name:<9}{meaning}" for name, meaning in COMMANDS.items()),
        "",
        "editbench COMMAND --help tells more. On several GPUs: torchrun --nproc_per_node=N -m editbench.COMMAND …",
    ]
)


def main() -> None:
    """Run the command that the command line names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help", "--version"):
        print(__version__ if name == "--version" else USAGE)  # noqa: T201
    elif name in COMMANDS:
        sys.argv = [f"editbench {name}", *sys.argv[2:]]
        runpy.run_module(f"editbench.{name}", run_name="__main__")
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        print(f"error: there is no command {name!r}{hint}\n\n{USAGE}" if name else USAGE, file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
