"""Questions to a server over HTTP, answered in JSON: asked again where that helps, else told in a sentence.

What is wrong with the server as a whole (nobody answers, the key is refused, the model is unknown, it will take no more
for a long time) is a `ServerError` and ends the phase: it says nothing of any sample. What is wrong with one request is
a `RequestError`. Nothing of ours prints a key, and what a server says is shown without it.
"""

import contextlib
import email.utils
import itertools
import json
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from editbench.errors import UserError
from editbench.put_off import PutOff
from editbench.text import hide, learn_secrets, printable

AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that may pass."""

PUT_OFF = frozenset({429, 503, 529})
"""Those of them by which a server says, of no request in particular, that it has too much to do."""

MOST_WAIT_S = 300.0
"""A server that asks for a longer wait than this, in seconds, is not waited for."""

MOST_BYTES = 64 * 2**20
"""Longest answer that is read."""

_MESSAGES = ("error", "message", "detail")
_FIRST_WAIT_S, _LONGEST_BACKOFF_S = 0.5, 60.0
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


class ServerError(UserError):
    """A server that no request is answered by; for the user to mend.

    Attributes:
        status: HTTP status of its last answer; None without one.
    """

    status: int | None = None


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
        retries: How many requests were sent again.
    """

    def __init__(self, base_url: str, api_key_env: str | None, limits: Limits, group: str) -> None:
        self._url, self._key_env, self._limits, self._group = base_url.rstrip("/"), api_key_env, limits, group
        key = _read_key(api_key_env, group)
        self.host = httpx2.URL(base_url).netloc.decode("ascii")
        self.retries = 0
        self._has_key = key is not None
        self._answered = False
        self._lost, self._why_lost = threading.Event(), ""
        self._put_off = PutOff()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(limits.timeout_s, connect=min(limits.timeout_s, 10.0), pool=None),
            limits=httpx2.Limits(max_connections=limits.at_once, max_keepalive_connections=limits.at_once),
        )

    def post(self, path: str, **content: Any) -> Any:
        """Ask, and ask again with growing pauses where that helps.

        Once the server puts a request off, that one alone is sent again, and all others wait until it is answered. A
        try does not count while the server is at work on others, or where another finds out how long it takes.

        Args:
            path: What comes behind the base URL.
            **content: `json`, or `data` and `files`, as httpx takes them.

        Returns:
            The answer, decoded.

        Raises:
            RequestError: this request has no answer.
            ServerError: none would have one.
        """
        leads, tried = False, 0
        try:
            for pauses in itertools.count():
                if not leads:
                    self._put_off.wait()
                if self._lost.is_set():
                    raise ServerError(self._why_lost)
                try:
                    with self._put_off.sending():
                        return self._send("POST", path, content)
                except RequestError as error:
                    failure = error
                put_off = failure.status in PUT_OFF or failure.wait_s is not None
                if leads and not put_off:
                    self._put_off.end()
                leads = put_off and (leads or self._put_off.lead())
                tried += not put_off or (leads and not self._put_off.in_flight)
                self._pause_before_next(failure, path, tried, pauses)
        finally:
            if leads:
                self._put_off.end()
        raise AssertionError

    def _pause_before_next(self, failure: RequestError, path: str, tried: int, pauses: int) -> None:
        """Wait until a request may be sent again; raises what is to be raised where it is not.

        Args:
            failure: Why it was not answered.
            path: Where it goes.
            tried: How many of its tries count.
            pauses: How often it has waited.
        """
        pointless = failure.unreachable and not self._answered
        if not failure.again or tried > self._limits.max_retries or pointless:
            raise self._last_word(failure, path, tried)
        backoff = min(_FIRST_WAIT_S * 2.0 ** min(pauses, 20), _LONGEST_BACKOFF_S)
        wait_s = backoff * random.uniform(0.5, 1.0) if failure.wait_s is None else failure.wait_s
        if wait_s > MOST_WAIT_S:
            raise self._last_word(failure, path, tried)
        self.retries += 1
        if self._pause(wait_s + random.uniform(0.0, _FIRST_WAIT_S)):  # not all at the same moment
            raise ServerError(self._why_lost)

    def get(self, path: str) -> Any:
        """Ask once.

        Raises:
            RequestError: there is no answer.
        """
        return self._send("GET", path, {})

    @property
    def _name(self) -> str:
        return f"{self._group}.base_url={self._url}"

    def _pause(self, seconds: float) -> bool:
        """Wait; gives true as soon as another thread has found the server lost."""
        return self._lost.wait(seconds)

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
        elif failure.status in (402, 429):
            wrong = f"the server takes no more{times} ({failure}); start the same command again later"
        else:
            return failure
        error = ServerError(f"{self._name}: {wrong}")
        error.status = failure.status
        self._why_lost = str(error)
        self._lost.set()
        return error


def check_address(base_url: str, api_key_env: str | None, group: str) -> None:
    """Check where a server is said to be, and where its key is said to be, without saying what may be a secret.

    Raises:
        UserError: no plain HTTP address, or no name of an environment variable.
    """
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError):
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise UserError(
            f"{group}.base_url: must be an address such as http://localhost:8000/v1, without user name, password, ? "
            f"and #; a key belongs into the environment variable that {group}.api_key_env names"
        )
    if api_key_env is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]*", api_key_env):
        raise UserError(
            f"{group}.api_key_env: must be the name of an environment variable in capitals, such as OPENAI_API_KEY, "
            "and never the key itself; or null"
        )


def _read_key(variable: str | None, group: str) -> str | None:
    key = os.environ.get(variable, "").strip() if variable else ""
    if key and not re.fullmatch(r"[!-~]+", key):
        raise UserError(f"{group}.api_key_env: what {variable} holds is no key, it has characters that none has")
    if key:
        learn_secrets({"api_key": key})
    return key or None


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
