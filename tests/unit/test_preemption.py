"""The scheduler's warning: noted while entered, and nothing is left behind afterwards."""

import os
import signal

import pytest
from running import run_python

from editbench.distributed.preemption import EXIT_PREEMPTED, Preemption

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def handlers():
    """Lets no test end with other handlers than it found, and no signal kill the test process."""
    found = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_interrupts_nothing(number):
    done = []
    with Preemption() as preemption:
        assert not preemption.requested
        os.kill(os.getpid(), number)
        done.append("the image in progress")
        assert preemption.requested
        os.kill(os.getpid(), number)  # a scheduler says it more than once
    assert preemption.requested and done


@pytest.mark.parametrize("error", [None, RuntimeError("x"), KeyboardInterrupt()])
def test_the_handlers_of_before_are_there_again(error):
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with Preemption():
            assert all(signal.getsignal(number) not in before for number in SIGNALS)
            if error:
                raise error
    except (RuntimeError, KeyboardInterrupt) as raised:
        assert raised is error
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_before_or_after_is_not_taken():
    os.kill(os.getpid(), signal.SIGUSR1)
    with Preemption() as preemption:
        pass
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not preemption.requested


def test_other_signals_keep_their_meaning():
    before = signal.getsignal(signal.SIGINT)
    with Preemption():
        assert signal.getsignal(signal.SIGINT) is before


def test_the_exit_code_says_try_again():
    assert os.EX_TEMPFAIL == EXIT_PREEMPTED


SIGNALS_WITHIN_SIGNALS = """
import os, signal, sys
from editbench.distributed.preemption import Preemption

def another(frame, event, _):
    if len(sent) < 50:
        sent.append(event)
        os.kill(os.getpid(), signal.SIGUSR1)
    return another

sent = []
with Preemption() as preemption:
    sys.settrace(another)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100):
        pass
    sys.settrace(None)
    print(preemption.requested, bool(sent))
"""


def test_a_signal_within_the_handling_of_another_blocks_nothing(tmp_path):
    outcome = run_python(["-c", SIGNALS_WITHIN_SIGNALS], tmp_path, timeout_s=30)
    assert outcome.output == "True True\n", outcome.tail
