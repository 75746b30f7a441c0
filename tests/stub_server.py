"""A server of a few lines that answers as a test wants it to, on a port of this machine."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request as it came."""

    path: str
    body: dict[str, Any] | None
    headers: dict[str, str]


class Answer(NamedTuple):
    """What the server answers: anything but bytes goes out as JSON."""

    content: Any
    status: int = 200
    headers: dict[str, str] | None = None


class Stub:
    """What a test needs of the server: its address, and all that it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[Got] = []

    def asked(self, path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
        return [got.body for got in self.got if got.path == path]


@contextlib.contextmanager
def serving(answer: Callable[[Got], Answer]) -> Iterator[Stub]:
    """Serve by a function of the request until the body ends; it is called by one thread at a time."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            data = self.rfile.read(length)
            got = Got(self.path, json.loads(data) if data else None, {k.lower(): v for k, v in self.headers.items()})
            with lock:
                stub.got.append(got)
                content, status, headers = answer(got)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client can be gone
                self.wfile.write(data)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub = Stub(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None = "Score: 7", finish_reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion as servers write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 5}
    answer = {"object": "chat.completion", "model": "m-2026", "system_fingerprint": "fp_1", "usage": usage}
    return answer | {"choices": [choice | more]}


def top(**logprobs: float) -> dict[str, Any]:
    """One place of `logprobs.content`: tokens, and the logarithms of their probabilities."""
    entries = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return {"token": entries[0]["token"], "logprob": entries[0]["logprob"], "top_logprobs": entries}
