"""A server with `/v1/images/edits` that paints by picture, words and seed, and counts what it is asked at a time."""

import base64
import contextlib
import email
import email.policy
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from benchmark_file import make_picture, png_bytes


class Answer(NamedTuple):
    """What is answered in place of a picture."""

    status: int
    headers: dict[str, str]


class Painter:
    """What a test sees of the server.

    Attributes:
        url: Its address.
        asked: The instructions, in the order in which they came.
        answered: Those of the edits that were answered with a picture.
        beside: How many requests were there when each came, itself counted.
        latency_s: How long an edit takes.
        size: Of what is painted.
    """

    def __init__(self, url: str, instead: Callable[["Painter", str], Answer | None]) -> None:
        self.url, self.instead = url, instead
        self.latency_s = 0.0
        self.size = (40, 30)
        self.lock = threading.Lock()
        self.there = 0
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.beside: list[int] = []

    def answer(self, form: dict[str, bytes]) -> tuple[int, dict[str, str], Any]:
        instruction = form["prompt"].decode()
        with self.lock:
            self.there += 1
            self.asked.append(instruction)
            self.beside.append(self.there)
        try:
            time.sleep(self.latency_s)
            if other := self.instead(self, instruction):
                return other.status, other.headers, {"error": {"message": "no"}}
            number = int(hashlib.sha256(form["image"] + form["prompt"] + form.get("seed", b"")).hexdigest()[:8], 16)
            picture = base64.b64encode(png_bytes(make_picture(number, self.size))).decode()
            with self.lock:
                self.answered.append(instruction)
            return 200, {}, {"data": [{"b64_json": picture}]}
        finally:
            with self.lock:
                self.there -= 1


@contextlib.contextmanager
def painting(
    instead: Callable[[Painter, str], Answer | None] = lambda _painter, _instruction: None,
) -> Iterator[Painter]:
    """Serve until the body ends.

    Args:
        instead: What is answered in place of a picture, given the server and the instruction; called by the thread of
            each request.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._say(200, {}, {"data": [{"id": "painter"}]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts()
            form = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}
            self._say(*painter.answer(form))

        def _say(self, status: int, headers: dict[str, str], content: Any) -> None:
            data = json.dumps(content).encode()
            with contextlib.suppress(OSError):  # the client can be gone
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(data))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    painter = Painter(f"http://127.0.0.1:{server.server_port}/v1", instead)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield painter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
