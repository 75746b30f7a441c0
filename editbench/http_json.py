"""Questions to a server over HTTP, answered in JSON: asked again where that helps, else told in a sentence.

What is wrong with the server as a whole (nobody answers, the key is refused, the model is unknown, it will take no more
for a long time) is a `ServerError` and ends the phase: it says nothing of any sample. What is wrong with one request is
a `RequestError`. Nothing of ours prints a key, and what a server says is shown without it.
"""

import contextlib
import email.utils
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from editbench.errors import ServerError
from editbench.gate import Gate
from editbench.server_address import read_key
from editbench.text import hide, printable

AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that may pass."""

PUT_OFF = frozenset({429, 503, 529})
"""Those of them by which a server says, of no request in particular, that it has too much to do."""

MOST_WAIT_S = 300.0
"""A server that asks for a longer wait than this, in seconds, is not waited for."""

MOST_BYTES = 64 * 2**20
"""Longest answer that is read."""

_MESSAGES = ("error", "message", "detail")
_SHOWN_CHARACTERS = 300


class RequestError(Exception):
    """A request was not answered, or not in the form that was agreed on.

    Attributes:
        status: HTTP status of the answer; None without one.
        again: Whether the same request may be answered when it is sent again.
        unreachable: Whether there was no connection.
        wait_s: Seconds that the server wants it to wait; None if it says nothing.
    """

    def __init__(self, message: str, status: int | None = None, again: bool = False) -> None:
        super().__init__(hide(printable(message)))
        self.status, self.again = status, again
        self.unreachable = False
        self.wait_s: float | None = None


@dataclass(frozen=True)
class Limits:
    """How a server is asked.

    Attributes:
        timeout_s: Seconds within which an answer must be there.
        max_retries: How often a request is sent again.
        at_once: Connections that are open at a time.
    """

    timeout_s: float
    max_retries: int
    at_once: int


class Server:
    """A server that is asked in JSON, by several threads at a time.

    Args:
        base_url: What paths are put behind, such as `http://localhost:8000/v1`, as `check_address` accepts it.
        api_key_env: Environment variable that holds the key; None, or a variable that is not set: no key is sent.
        limits: How it is asked.
        group: `editor` or `judge`, for errors.

    Attributes:
        host: Host and port.
    """

    def __init__(self, base_url: str, api_key_env: str | None, limits: Limits, group: str) -> None:
        self._url, self._key_env, self._limits, self._group = base_url.rstrip("/"), api_key_env, limits, group
        key = read_key(api_key_env, group)
        self.host = httpx2.URL(base_url).netloc.decode("ascii")
        self._has_key = key is not None
        self._answered = False
        self._gate = Gate(limits.at_once)
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(limits.timeout_s, connect=min(limits.timeout_s, 10.0), pool=None),
            limits=httpx2.Limits(max_connections=limits.at_once, max_keepalive_connections=limits.at_once),
        )

    @property
    def retries(self) -> int:
        """How many requests were to be sent again."""
        return self._gate.retries

    @property
    def waited_s(self) -> float:
        """Seconds that requests of the calling thread have waited for their turn, or to be sent again."""
        return self._gate.waited_s

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """Wait for nothing any more once this gives true."""
        self._gate.stopping = stopping

    def post(self, path: str, **content: Any) -> Any:
        """Ask, and ask again where that helps: after a growing pause, or when the server takes requests again.

        Args:
            path: What comes behind the base URL.
            **content: `json`, or `data` and `files`, as httpx takes them.

        Returns:
            The answer, decoded.

        Raises:
            RequestError: this request has no answer.
            ServerError: none would have one.
            StoppedError: it would have to wait, and the phase is stopping.
        """
        tried = 0
        while True:
            with self._gate.turn() as turn:
                try:
                    answer = self._send("POST", path, content)
                    turn.outcome = "answered"
                    return answer
                except RequestError as error:
                    failure = error
                    turn.wait_s = error.wait_s
                    if error.status is not None:
                        turn.outcome = "put_off" if error.status in PUT_OFF else "answered"
            put_off = turn.outcome == "put_off"
            tried += not put_off
            times = turn.refused if put_off else tried
            pointless = failure.unreachable and not self._answered
            too_long = failure.wait_s is not None and failure.wait_s > MOST_WAIT_S
            if not failure.again or times > self._limits.max_retries or pointless or too_long:
                raise self._last_word(failure, path, times)
            if not put_off:
                self._gate.pause(tried - 1, failure.wait_s)

    def get(self, path: str) -> Any:
        """Ask once.

        Raises:
            RequestError: there is no answer.
        """
        return self._send("GET", path, {})

    @property
    def _name(self) -> str:
        return f"{self._group}.base_url={self._url}"

    def _send(self, method: str, path: str, content: dict[str, Any]) -> Any:
        ends = time.monotonic() + self._limits.timeout_s
        data = bytearray()
        try:
            with self._client.stream(method, self._url + path, **content) as response:
                self._answered = True
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > MOST_BYTES:
                        raise RequestError(f"the answer is longer than {MOST_BYTES >> 20} MiB", response.status_code)
                    if time.monotonic() > ends:  # the client's own limit is for each piece of it
                        raise httpx2.ReadTimeout("it came too slowly")
        except httpx2.HTTPError as error:
            raise self._unanswered(error) from None  # what it holds on to is the request, with the key
        status = response.status_code
        if not 200 <= status < 300:
            failure = RequestError(f"HTTP {status}: {_said(data)}", status, again=status in AGAIN)
            failure.wait_s = _wait_wanted(response.headers)
            raise failure
        try:
            return json.loads(data.decode())
        except (ValueError, RecursionError):
            raise RequestError(f"the answer is no JSON: {_said(data)}", status) from None

    def _unanswered(self, error: httpx2.HTTPError) -> RequestError:
        unreachable = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        if isinstance(error, httpx2.TimeoutException) and not unreachable:
            return RequestError(f"no answer within {self._limits.timeout_s:g} s", again=True)
        passing = isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)
        failure = RequestError(f"{type(error).__name__}: {error}", again=passing)
        failure.unreachable = unreachable
        return failure

    def _last_word(self, failure: RequestError, path: str, tried: int) -> Exception:
        """What is raised for a request that is not sent again."""
        times = f" after {tried} tries" if tried > 1 else ""
        variable = f"the environment variable {self._key_env}" if self._key_env else f"{self._group}.api_key_env"
        if failure.unreachable:
            wrong = f"nobody answers{times} ({failure}); start the server there, or correct the address"
        elif failure.status == 401 and self._has_key:
            wrong = f"the server refuses the key ({failure}); put the right one into {variable}"
        elif failure.status == 401:
            wrong = f"the server wants a key ({failure}); put it into {variable}, none is there"
        elif failure.status == 404:
            hint = "" if self._url.endswith("/v1") else " (which mostly ends with /v1)"
            wrong = f"the server knows no {path}, or no such model ({failure}); correct the address{hint} or the model"
        elif failure.wait_s is not None and failure.again and failure.wait_s > MOST_WAIT_S:
            wrong = (
                f"the server takes no more for {failure.wait_s:.0f} s ({failure}); start the same command again later"
            )
        elif failure.status == 402 or failure.status in PUT_OFF:
            wrong = f"the server takes no more{times} ({failure}); start the same command again later"
        else:
            return failure
        error = ServerError(f"{self._name}: {wrong}")
        error.status = failure.status
        self._gate.give_up(str(error))
        return error


def _wait_wanted(headers: httpx2.Headers) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; None for what says nothing."""
    text = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        seconds = float(text)
        return seconds if 0 <= seconds < float("inf") else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _said(data: bytearray) -> str:
    """What a server says in an answer that was not wanted, in one line: its JSON's message, or the text."""
    text = data[: 2**16].decode(errors="replace")
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        while isinstance(found, dict) and (key := next((key for key in _MESSAGES if key in found), None)):
            found = found[key]
        text = found if isinstance(found, str) else json.dumps(found)
    line = " ".join(text.split()) or "nothing"
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"
