"""Records of the benchmark format, one JSON object a line."""

from collections.abc import Iterator

from editbench.datasets.json_file import JsonFile
from editbench.datasets.json_scanner import MAX_RECORD_BYTES
from editbench.errors import UserError

_PIECE = 2**20


class JsonLines(JsonFile):
    """Reads a file with a record of the benchmark format on every line; takes and raises what `JsonFile` does."""

    def _records(self) -> Iterator[tuple[str | None, int, bytes]]:
        for number, (offset, line) in enumerate(self._lines()):
            if number == 0 and line.lstrip()[:1] == b"[":
                raise UserError(
                    f"dataset.path={self.path}: begins with [, wanted a JSON object on every line; a JSON list is read "
                    "with dataset=json_file"
                )
            yield None, offset, line

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield (byte offset, bytes) of every line that is not blank."""
        with self.path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":
                file.seek(0)
            while True:
                offset = file.tell()
                line = bytearray(file.readline(_PIECE))
                while len(line) % _PIECE == 0 and line and not line.endswith(b"\n"):
                    if len(line) > MAX_RECORD_BYTES or bytes(line.lstrip()[:1]) not in (b"", b"{"):
                        raise UserError(
                            f"dataset.path={self.path}: at byte {offset} begins a line of {len(line) / 2**20:.0f} MiB "
                            f"and more that is no record ({bytes(line[:10])!r}…); the file must hold a JSON object on "
                            "every line"
                        )
                    piece = file.readline(_PIECE)
                    line += piece
                    if not piece:
                        break
                if not line:
                    return
                if line.strip():
                    yield offset, bytes(line)
