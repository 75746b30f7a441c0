"""The command `transformers` with these arguments, such as `serve MODEL`; it ends with its stdin."""

import os
import signal
import sys
import threading

os.environ["HF_HUB_DISABLE_UPDATE_CHECK"] = "1"  # which would ask PyPI

from transformers.cli.transformers import main


def end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=end_with_stdin, daemon=True).start()
main()
