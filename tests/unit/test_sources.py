"""Sources come in order, read one sample ahead."""

import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from editbench.config.schema import ComponentConfig, SourceConfig
from editbench.datasets.sources import Sources


def test_a_source_is_read_while_the_sample_before_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [SimpleNamespace(sample_id=str(number)) for number in range(3)]
    began = {sample.sample_id: threading.Event() for sample in samples}

    def read(self: Sources, sample: SimpleNamespace) -> Image.Image:
        began[sample.sample_id].set()
        if sample is samples[1]:
            raise ValueError("broken")
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(Sources, "read", read)
    sources = Sources(
        ComponentConfig("editbench.datasets.json_file.JsonFile", "dataset", {"path": __file__}), SourceConfig()
    )
    first = sources.take(samples[0], then=samples[1])
    assert first().size == (8, 8)
    assert began["1"].wait(10)  # before anybody asks for it
    assert not began["2"].is_set()
    second = sources.take(samples[1], then=None)
    with pytest.raises(ValueError, match="broken"):
        second()
    assert not began["2"].is_set()
    assert sources.take(samples[2], then=None)().size == (8, 8)
