"""Logs: what comes from files and models is shown, but cannot act in a terminal or pass for a line of the log."""

import io
import logging
import re

import pytest
from rich.console import Console

from editbench import logs

HOSTILE = (
    "\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2066\r[bold]猫 🐈\n2026-01-01 00:00:00,000 INFO editbench.edit: all is well"
)


@pytest.fixture(autouse=True)
def handlers():
    """Leaves the root logger as it was."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    before, level = root.handlers[:], root.level
    for handler in before:
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)


def log_hostile():
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError as error:
        logging.getLogger("editbench.test").error("failed: %s", error, exc_info=True)


def check(text):
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
    assert "猫 🐈" in text
    assert "Traceback" in text


def test_a_message_and_a_traceback_cannot_act_in_a_log_file(tmp_path):
    logs.set_up("edit", 3, tmp_path, "INFO")
    log_hostile()
    text = (tmp_path / "edit-rank003.log").read_text(encoding="utf-8")
    check(text)
    assert [line[:4].isdigit() for line in text.splitlines()].count(True) == 1
    assert text.count("all is well") == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_neither_can_act_on_the_console(monkeypatch, capsys, terminal):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, color_system=None, width=200)
    monkeypatch.setattr(logs, "_console", console)
    logs.set_up("edit", 0, None, "INFO")
    log_hostile()
    text = screen.getvalue() if terminal else capsys.readouterr().err
    check(text)
    assert "[bold]" in text


def test_a_library_that_logs_raw_is_made_to_log_as_all_else(tmp_path, capsys):
    library = logging.getLogger("a_library")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    logs.set_up("edit", 3, tmp_path, "INFO")
    logs.adopt("a_library")
    logging.getLogger("a_library.part").warning("truncated: %s", HOSTILE)
    text = (tmp_path / "edit-rank003.log").read_text(encoding="utf-8") + capsys.readouterr().err
    assert text.count("truncated: ") == 2 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
