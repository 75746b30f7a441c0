"""JSON objects that carry a checksum of themselves, so that a flipped byte is noticed, not believed.

`{"score": 8.5}` becomes `{"score": 8.5, "check": "…"}` with the CRC-32 of the text without the last field. Any JSON
reader can read it.
"""

import json
import re
import zlib
from typing import Any

_SEAL = re.compile(rb', "check": "([0-9a-f]{8})"\}$')


def seal(fields: dict[str, Any]) -> bytes:
    """Serialize a non-empty dict as one line of UTF-8 JSON with its checksum, without a line end."""
    text = json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace")  # half surrogates stay escapes
    return text[:-1] + b', "check": "%08x"}' % zlib.crc32(text)


def unseal(data: bytes) -> dict[str, Any]:
    """Undo `seal`.

    Raises:
        ValueError: there is no checksum, or it is not that of the text.
    """
    found = _SEAL.search(data)
    if found is None:
        raise ValueError("it does not end with its checksum")
    text = data[: found.start()] + b"}"
    if zlib.crc32(text) != int(found.group(1), 16):
        raise ValueError("its checksum is not that of its text")
    fields: dict[str, Any] = json.loads(text)
    return fields
