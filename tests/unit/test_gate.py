"""Requests of several threads to one server that puts some off: none waits for ever, none is blamed for the others."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from editbench import gate
from editbench.errors import ServerError, StoppedError
from editbench.http_json import Limits, RequestError, Server

WAIT_S = 20.0
"""What a test waits for comes at once, or is not to come."""


def refusal(status: int, wait_s: float | None = None) -> RequestError:
    error = RequestError(f"HTTP {status}", status, again=True)
    error.wait_s = wait_s
    return error


def asked(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], None], at_once: int, max_retries: int) -> Server:
    """A server whose answers a function gives, by path; it raises what is no answer."""
    monkeypatch.setattr(Server, "_send", lambda _self, _method, path, _content: answer(path))
    return Server("http://127.0.0.1:1/v1", None, Limits(10, max_retries, at_once), "editor")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "pause_s", lambda _pauses, _wanted_s: 0.0)


@pytest.fixture
def many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("no_pauses", "many_switches")
def test_every_request_ends_however_put_offs_and_answers_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, drawn, put_off = threading.Lock(), random.Random(0), []

    def at_random(path: str) -> None:
        with lock:
            if drawn.random() < 0.5:
                put_off.append(path)
                raise refusal(429)

    server = asked(monkeypatch, at_random, 8, 10**6)
    done = []

    def ask() -> None:
        for _ in range(4000):
            server.post("/x")
            done.append(1)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    seen = -1
    while any(thread.is_alive() for thread in threads):
        assert len(done) > seen, "all wait"
        seen = len(done)
        threads[0].join(2.0)
        time.sleep(0.5)
    assert len(done) == 32000
    assert server.retries == len(put_off)


@pytest.mark.usefixtures("no_pauses")
def test_a_request_that_is_always_put_off_holds_up_no_other_and_ends_the_phase_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_but_one(path: str) -> None:
        time.sleep(0.002)
        if path == "/7":
            raise refusal(503)

    server = asked(monkeypatch, all_but_one, 4, 3)
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(server.post, f"/{number}") for number in range(40)]
    errors = [one.exception() for one in asking]
    assert [number for number, error in enumerate(errors) if error] == [7]
    assert isinstance(errors[7], ServerError) and "takes no more after 4 tries (HTTP 503)" in str(errors[7])


def wait_beside(server: Server, path: str) -> tuple[threading.Thread, list[BaseException]]:
    """Ask in a thread; what it raises."""
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            server.post(path)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("status", [429, 500])  # waits for its turn, and by itself
@pytest.mark.parametrize("end", ["lost", "stopping"])
def test_every_wait_ends_with_the_server_and_with_the_phase(
    monkeypatch: pytest.MonkeyPatch, status: int, end: str
) -> None:
    came = threading.Event()

    def later(path: str) -> None:
        if path == "/first":
            came.wait(WAIT_S)
            time.sleep(0.3)
            raise RequestError("HTTP 401", 401)
        came.set()
        raise refusal(status, 60.0)

    server, stop = asked(monkeypatch, later, 2, 5), threading.Event()
    server.stop_when(stop.is_set)
    first = wait_beside(server, "/first") if end == "lost" else None
    thread, raised = wait_beside(server, "/second")
    came.wait(WAIT_S)
    if end == "stopping":
        time.sleep(0.3)
        stop.set()
    thread.join(5.0)
    assert [type(error) for error in raised] == [ServerError if end == "lost" else StoppedError]
    if first:
        assert "HTTP 401" in str(raised[0]) and "HTTP 401" in str(first[1][0])


def test_a_request_that_need_not_wait_is_sent_though_the_phase_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is nearly judged would be asked again from its start."""
    server = asked(monkeypatch, lambda _path: None, 2, 5)
    server.stop_when(lambda: True)
    assert server.post("/x") is None


def test_nothing_is_sent_before_the_end_of_the_wait_that_the_server_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "FIRST_WAIT_S", 0.0)
    times: list[float] = []

    def once(_path: str) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise refusal(503, 0.6)

    server = asked(monkeypatch, once, 2, 5)
    threads = [wait_beside(server, "/a")[0]]
    time.sleep(0.1)
    threads.append(wait_beside(server, "/b")[0])
    for thread in threads:
        thread.join(WAIT_S)
    assert len(times) == 3 and min(times[1:]) - times[0] >= 0.6
    assert server.waited_s == 0.0  # other threads have


def test_as_many_as_before_are_asked_for_again_once_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a limit per minute, at which all are put off."""
    monkeypatch.setattr(gate, "FIRST_WAIT_S", 0.01)
    lock, there, beside, together = threading.Lock(), [], [], threading.Barrier(8)

    def full_at_first(path: str) -> None:
        with lock:
            there.append(path)
            beside.append(len(there))
            number = len(beside)
        if number <= 8:
            together.wait(WAIT_S)
        time.sleep(0.01)
        with lock:
            there.remove(path)
        if number <= 8:
            raise refusal(429, 0.1)

    server = asked(monkeypatch, full_at_first, 8, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(server.post, [f"/{number}" for number in range(160)]))
    assert beside[8] == 1 and max(beside[8:]) == 8
    assert len(beside) == 168
