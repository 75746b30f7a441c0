"""Source images, each read and decoded while the sample before is being edited."""

import concurrent.futures
from collections.abc import Callable

from PIL import Image

from editbench import images
from editbench.components.load import open_dataset
from editbench.config.schema import ComponentConfig, SourceConfig
from editbench.datasets.base import check_instruction, read_sources
from editbench.run.records import Sample

ReadSources = Callable[[], list[Image.Image]]


class Sources:
    """Reads sources a sample ahead, in a background thread.

    Args:
        dataset: Where they come from.
        limits: What is accepted.
    """

    def __init__(self, dataset: ComponentConfig, limits: SourceConfig) -> None:
        self._dataset, self._limits = open_dataset(dataset), limits
        self._reader = concurrent.futures.ThreadPoolExecutor(1, "read")
        self._ahead: dict[str, concurrent.futures.Future[list[Image.Image]]] = {}

    def take(self, sample: Sample, then: Sample | None) -> ReadSources:
        """Give what returns a sample's sources or raises what is wrong with it, and begin to read the one behind."""
        ahead = self._ahead.pop(sample.sample_id, None) or self._reader.submit(self.read, sample)
        if then is not None:
            self.begin(then)
        return ahead.result

    def begin(self, sample: Sample) -> None:
        """Begin to read the sources of the sample that is taken next."""
        self._ahead = {sample.sample_id: self._reader.submit(self.read, sample)}

    def read(self, sample: Sample) -> list[Image.Image]:
        """Read and decode a sample's source images, mode RGB.

        Raises:
            ValueError: a source or the instruction are broken or beyond the limits.
        """
        check_instruction(sample.for_editor, self._limits)
        return [images.decode_rgb(file, self._limits) for file in read_sources(self._dataset, sample)]
