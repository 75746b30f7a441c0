"""JSON that carries a checksum of itself, so that what was changed, dropped or doubled is noticed, not believed.

`{"score": 8.5}` becomes `{"score": 8.5, "check": "…"}` with the CRC-32 of the text without the last field. Any JSON
reader can read it.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

_SEAL = re.compile(rb', "check": "([0-9a-f]{8})"\}\n?\Z')


def to_json(value: Any) -> bytes:
    """Serialize as one line of UTF-8 JSON, without a line end; half surrogates stay escapes."""
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")


def seal(fields: dict[str, Any]) -> bytes:
    """Serialize a non-empty dict as one line of UTF-8 JSON with its checksum, without a line end."""
    return b"".join(seal_pieces([to_json(fields)[:-1]]))


def seal_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a JSON object, its last brace left out, and then its checksum and the brace."""
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield b', "check": "%08x"}' % zlib.crc32(b"}", checksum)


def unseal(data: bytes) -> dict[str, Any]:
    """Undo `seal`.

    Raises:
        ValueError: there is no checksum, or it is not that of the text.
    """
    fields: dict[str, Any] = json.loads(b"".join(unseal_pieces([data])) + b"}")
    return fields


def unseal_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Undo `seal_pieces`, of pieces that may be cut otherwise but for the last, which must hold the whole seal.

    Raises:
        ValueError: there is no checksum, or it is not that of the text; known behind the last piece only.
    """
    checksum = 0
    found = None
    for piece in pieces:
        found = _SEAL.search(piece)
        text = piece[: found.start()] if found else piece
        checksum = zlib.crc32(text, checksum)
        yield text
    if not found:
        raise ValueError("it does not end with its checksum")
    if zlib.crc32(b"}", checksum) != int(found.group(1), 16):
        raise ValueError("its checksum is not that of its text")
