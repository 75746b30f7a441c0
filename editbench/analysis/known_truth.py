"""A metric for datasets whose wanted pictures are known: the true score beside the judge's.

A metric is any class with `measure(sample, source, edited)`, named by `_target_` in a YAML under conf/metric/.
"""

import json
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

from PIL import Image

from editbench.analysis.truth import Truth, true_score
from editbench.errors import UserError
from editbench.run.records import Sample


class Metric(Protocol):
    """Measures an edit from the pictures, without a judge.

    A class may have `BOUNDS`, the lowest and highest value that a figure can have, as a pair by its name: the report's
    intervals end there.
    """

    def measure(self, sample: Sample, source: Image.Image, edited: Image.Image) -> dict[str, float | None]:
        """Measure one edit.

        Args:
            sample: The sample.
            source, edited: Mode RGB, of any size; of several source images the first.

        Returns:
            Figures by name, the same names for every sample; None where one cannot be had for this sample.
        """
        ...


class KnownTruth:
    """Compares with the wanted picture that a records file names for each sample.

    Args:
        records: JSON list of records as `scripts/pack_benchmark.py` takes them; of each, `reference_image_path` names
            the wanted picture, relative to the file's folder, and `target_cells` the cells along a side (4 by default).

    Raises:
        UserError: no such file, or it is no JSON list of records with pictures.
    """

    BOUNDS: ClassVar = {"true_score": (0.0, 10.0), "true_strict": (0.0, 1.0), "true_cells": (0.0, 1.0)}

    def __init__(self, records: str) -> None:
        path = Path(records).expanduser()
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(listed, list):
                raise TypeError(f"a {type(listed).__name__}")
            self._targets = {
                PurePosixPath(record["original_image_path"]).stem: (
                    path.parent / record["reference_image_path"],
                    int(record.get("target_cells", 4)),
                )
                for record in listed
                if "reference_image_path" in record
            }
        except OSError as error:
            raise UserError(
                f"metric.records={records}: cannot be read ({error.strerror}); give a records file"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"metric.records={records}: is no JSON list of records with pictures ({error})") from error

    def measure(self, sample: Sample, source: Image.Image, edited: Image.Image) -> dict[str, float | None]:
        """Give `true_score` (0 to 10), `true_strict` (0 or 1) and `true_cells` (0 to 1); None without a target."""
        if sample.sample_id not in self._targets:
            return dict.fromkeys(self.BOUNDS)
        path, cells = self._targets[sample.sample_id]
        with Image.open(path) as target:
            truth = true_score(source, edited, Truth(target.convert("RGB"), cells))
        return {
            "true_score": round(truth["score"], 4),
            "true_strict": float(truth["strict"]),
            "true_cells": round(truth["cells_right"], 4),
        }
