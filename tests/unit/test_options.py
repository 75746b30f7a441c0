"""Settings of commands without Hydra: text keeps its text, and what is wrong is said in a sentence."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from editbench.config.annotations import Count
from editbench.config.options import read
from editbench.errors import UserError


@dataclass
class Options:
    base: Path
    runs: list[str] = field(default_factory=list)
    column: str = "score"
    force: bool = False
    resamples: Count = 10
    human: Path | None = None


def test_values_take_their_annotated_type() -> None:
    given = ["base=a=b", "runs=[2026_11, x y]", "column=007", "force=true", "resamples=5", "base=~root"]
    options = read(Options, given)
    assert options == Options(Path("~root").expanduser(), ["2026_11", "x y"], "007", True, 5)
    assert read(Options, ["base=x", "human=h.csv"]).human == Path("h.csv")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "base has no value; give it as base=…"),
        (["base=x", "resample=3"], "did you mean resamples=…?"),
        (["base"], "'base' is no setting here"),
        (["base="], "base=: must be a folder"),
        (["base=x", "resamples=0"], "resamples=0: must be a whole number from 1"),
        (["base=x", "force=perhaps"], "force=perhaps: must be true or false"),
        (["base=x", "force=["], "force=[: must be true or false"),
    ],
)
def test_what_is_wrong_is_said(given: list[str], words: str) -> None:
    with pytest.raises(UserError) as raised:
        read(Options, given)
    assert words in str(raised.value)
