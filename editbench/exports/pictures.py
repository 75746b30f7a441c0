"""Writes the edited images of a run as files."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from editbench import __version__
from editbench.errors import UserError
from editbench.exports.layouts import LAYOUTS, places_by_id, places_in
from editbench.exports.writing import LIST, folder_to_fill, write_list
from editbench.images import encode_png
from editbench.loaded_run import LoadedRun
from editbench.run.folder import utc_now

TABLE = "metadata.jsonl"
"""Beside pictures under their ids: which is which, as a Hugging Face imagefolder has it."""

_IN_TABLE = ("sample_id", "category", "instruction", "description", "state", "score", "judge", "edit_sha256")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: The folder or file.
        sentence: How much it holds, and what it lacks.
    """

    path: Path
    sentence: str


def write_folder(run: LoadedRun, out: Path, side_by_side: bool, force: bool) -> Written:
    """Write every edited image as a PNG under its sample's id, and a table of them.

    Args:
        run: The run.
        out: The folder.
        side_by_side: Each picture has the sources on its left, in order.
        force: Write over what is there.

    Raises:
        UserError: there are no pictures, one cannot be read, or the folder is not free.
    """
    places = places_by_id(run.results.plan.samples, (TABLE, LIST))
    made = run.side_by_side if side_by_side else None

    def picture(sample_id: str) -> bytes:
        return encode_png(made(sample_id)) if made else run.edited_png(sample_id)

    with folder_to_fill(out, force) as folder:
        files = {id_: places[id_] for id_ in _with_pictures(run) if _write(folder / places[id_], picture, id_)}
        rows = {row["sample_id"]: row for row in run.samples}
        lines = ({"file_name": file} | {name: rows[id_][name] for name in _IN_TABLE} for id_, file in files.items())
        table = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / TABLE).write_bytes(table.encode(errors="backslashreplace"))
        return _finish(run, "folder", folder, [*files.values(), TABLE], out)


def write_layout(run: LoadedRun, to: str, out: Path, force: bool, name: str = "") -> Written:
    """Write the edited images as the official scorer of a benchmark reads them.

    Args:
        run: The run.
        to: The layout's name.
        out: The folder that the layout's own folder is made in, or that is it.
        force: Write over what is there.
        name: Under which the scorer knows the editor; empty: the run's.

    Raises:
        UserError: the run's samples have no place in that layout, there are no pictures, one cannot be read, or the
            folder is not free.
    """
    layout = LAYOUTS[to]
    places = places_in(layout, run.results.plan.samples)
    target = out / layout.below.format(name=name or run.name)
    with folder_to_fill(target, force) as folder:
        files = []
        for id_ in _with_pictures(run):
            encode = _jpeg(run) if places[id_].endswith(".jpg") else run.edited_png
            files += [places[id_]] * _write(folder / places[id_], encode, id_)
            if layout.source_beside:
                beside = places[id_].removesuffix(".png") + layout.source_beside
                files += [beside] * _write(folder / beside, lambda id_: encode_png(run.source(id_)), id_)
        return _finish(run, to, folder, files, target)


def _with_pictures(run: LoadedRun) -> list[str]:
    found = [row["sample_id"] for row in run.samples if row["edit_sha256"]]
    if not found:
        raise UserError(f"{run.folder} has no edited images; run the edit phase")
    return found


def _jpeg(run: LoadedRun) -> Callable[[str], bytes]:
    """Encode an edited image as a JPEG that loses little: quality 95, colours at full resolution."""

    def encode(sample_id: str) -> bytes:
        buffer = io.BytesIO()
        picture: Image.Image = run.edited(sample_id)
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
        return buffer.getvalue()

    return encode


def _write(path: Path, encode: Callable[[str], bytes], sample_id: str) -> bool:
    try:
        data = encode(sample_id)
    except ValueError as error:
        raise UserError(f"the sample {sample_id!r} cannot be exported: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return True


def _finish(run: LoadedRun, to: str, folder: Path, files: list[str], target: Path) -> Written:
    """Write the list of what there is and is not."""
    without = {row["sample_id"]: row["state"] for row in run.samples if not row["edit_sha256"]}
    listed = {"editbench": __version__, "created": utc_now(), "run": run.name, "to": to, "without_picture": without}
    write_list(folder, listed, files)
    sentence = f"{len(run.samples) - len(without)} of {len(run.samples)} samples have a picture here"
    if without:
        causes = ", ".join(f"{count} {state}" for state, count in Counter(without.values()).items())
        sentence += f"; of the others ({causes}) there is no file, and the reader of this folder must count them itself"
    return Written(target, sentence)
