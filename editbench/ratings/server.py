"""The rating page's server: on this machine's loopback alone, and for the page that knows its token alone."""

import errno
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from editbench.errors import UserError
from editbench.ratings.session import OutdatedError, RatingSession

ADDRESS = "127.0.0.1"
MOST_BYTES = 4096
"""Of the body of a request."""

NONCE = "{{ nonce }}"
"""Stands in the page where its script and style name theirs."""

ReadImage = Callable[[int, str], bytes]
"""(number of the question, place on the page) -> PNG; ValueError where it cannot be had."""

logger = logging.getLogger(__name__)


class RatingServer(ThreadingHTTPServer):
    """Serves one session.

    Every path begins with a random token, so that no other page or user of the machine can post or read; the Host
    header must be the loopback's, so that no name that points here is taken for it.

    Args:
        session: What is asked and answered.
        page: The HTML, with `NONCE` in it.
        read_image: Reads the pictures.
        port: 0: any that is free.

    Raises:
        UserError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, session: RatingSession, page: str, read_image: ReadImage, port: int) -> None:
        self.session, self.page, self.read_image = session, page, read_image
        self.token = secrets.token_urlsafe(18)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = "it is in use" if getattr(error, "errno", None) == errno.EADDRINUSE else str(error)
            raise UserError(f"port={port} cannot be had ({reason}); give another one, or none") from error
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        logger.debug("request from %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: RatingServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        match self._path():
            case [""]:
                self._send_page()
            case ["state"]:
                self._send_json(self.server.session.state())
            case ["image", number, place] if number.isdecimal():
                self._send_image(int(number), place)
            case path:
                self._refuse_path(path)

    def do_POST(self) -> None:
        path = self._path()
        request = self._read_json() if path is not None else None
        if request is None:
            return self._refuse_path(path) if path is None else None
        session = self.server.session
        number = request.get("number")
        try:
            match path:
                case ["answer"] if isinstance(number, int):
                    state = session.answer(number, request.get("answer"))
                case ["skip"] if isinstance(number, int):
                    state = session.skip(number)
                case ["undo"]:
                    state = session.undo()
                case _:
                    return self._refuse_path(path)
        except OutdatedError as error:
            return self._refuse(HTTPStatus.CONFLICT, str(error))
        except ValueError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            return self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, f"the rating was not written: {error.strerror}")
        self._send_json(state)
        return None

    def _path(self) -> list[str] | None:
        """The path behind the token, in parts; None where host or token are not ours."""
        head, token, *rest = self.path.partition("?")[0].split("/")
        is_ours = hmac.compare_digest(token.encode(), self.server.token.encode())
        return rest if self.headers.get("Host") in self.server.hosts and not head and is_ours and rest else None

    def _read_json(self) -> dict[str, Any] | None:
        """The body of a request of our own page; None, and it is refused, where it is anything else."""
        host = self.headers.get("Host")
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "another page may not post here")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON")
        elif not length.isdecimal() or int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body must have {MOST_BYTES} bytes at most")
        else:
            try:
                request = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                request = None
            if isinstance(request, dict):
                return request
            self._refuse(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        return None

    def _send_page(self) -> None:
        nonce = secrets.token_urlsafe(18)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        page = self.server.page.replace(NONCE, nonce).encode()
        self._send(HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": policy})

    def _send_image(self, number: int, place: str) -> None:
        try:
            png = self.server.read_image(number, place)
        except (ValueError, OSError, UserError) as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        else:
            self._send(HTTPStatus.OK, png, "image/png", {"Cache-Control": "private, max-age=3600"})

    def _send_json(self, data: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(data).encode(), "application/json", {})

    def _refuse_path(self, path: list[str] | None) -> None:
        status = HTTPStatus.FORBIDDEN if path is None else HTTPStatus.NOT_FOUND
        self._refuse(status, "open the address that the command printed")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # a body that was not read must not be taken for the next request
        self._send_json({"error": reason}, status)

    def _send(self, status: HTTPStatus, body: bytes, kind: str, headers: dict[str, str]) -> None:
        fixed = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "close" if self.close_connection else "keep-alive",
        }
        self.send_response_only(status)
        for name, value in (fixed | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
