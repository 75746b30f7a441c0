"""What the threads that ask one server share once it puts a request off: one of them asks again, the others wait."""

import contextlib
import threading
from collections.abc import Iterator


class PutOff:
    """Lets one request at a time find out whether a server takes requests again; as long as it does, all go on.

    Without that, every request in flight would be put off, and sent again, as often as the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._takes = threading.Event()
        self._takes.set()
        self._in_flight = 0

    def wait(self) -> None:
        """Wait while another request finds out."""
        self._takes.wait()

    def lead(self) -> bool:
        """Become the request that finds out; gives false where another one is at it."""
        with self._lock:
            leads = self._takes.is_set()
            self._takes.clear()
            return leads

    def end(self) -> None:
        """It has been found out: all go on."""
        self._takes.set()

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Count a request that the server has."""
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    @property
    def in_flight(self) -> int:
        """Requests that the server has."""
        with self._lock:
            return self._in_flight
