"""A benchmark's own figures, by its protocol, each beside how much of the benchmark it rests on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from editbench.analysis.statistics import clustered_mean, macro_mean, rate
from editbench.config.protocol import FigureConfig, ProtocolConfig, holds
from editbench.run.records import FAILURE_STATES, Sample

Outcome = Mapping[str, Any]


class _Value(NamedTuple):
    """A value that a figure is the mean of, with its sample's category and source image."""

    value: float
    category: str
    source: str


def official_figures(
    protocol: ProtocolConfig, samples: Sequence[Sample], outcomes: Iterable[Outcome], published: bool = False
) -> dict[str, Any] | None:
    """Compute the figures of a protocol.

    Args:
        protocol: By which the samples were judged.
        samples: All that are planned.
        outcomes: What became of each, in the same order.
        published: Whether to add what others have published.

    Returns:
        `protocol`, its name; `prompts`, whose they are: None for ours, else `file` and `sha256`; `figures`: for each
        its `name`, `unit`, `value`, `standard_error` and `interval` (clustered by source image; of a share of samples
        with a source each, Wilson's), `scored` of `planned`
        samples, `categories` of `categories_planned` (all that the figure names, planned here or not),
        `with_failures_as_min`, the value if each failed sample had the lowest score, and `language`, that of its
        samples, or None; where samples are in several languages each has all figures, its own name behind theirs;
        `published`: what others give for the same figures, in languages that are here, None if that is not wanted. None
        for a protocol without figures.
    """
    if not protocol.figures:
        return None
    parts = _by_language(protocol, list(zip(samples, outcomes, strict=True)))
    digest = protocol.prompts_sha256
    return {
        "protocol": protocol.name,
        "prompts": {"file": protocol.prompts, "sha256": digest} if digest else None,
        "figures": [
            _figure(name, protocol, own)
            | {"name": f"{name}_{language}" if len(parts) > 1 else name, "language": language}
            for language, own in parts.items()
            for name in protocol.figures
        ],
        "published": _published(protocol, list(parts)) if published else None,
    }


def language_note(protocol: ProtocolConfig, samples: Sequence[Sample]) -> list[str]:
    """Say that figures may mix languages, where the protocol has them apart and no sample tells its own."""
    field = protocol.language_field
    if not protocol.figures or not field or not samples or any(field in sample.extra for sample in samples):
        return []
    return [
        f"official: the language is on no record (protocol.language_field={field}), so figures may mix several; "
        "publishers give each apart"
    ]


def _by_language(
    protocol: ProtocolConfig, own: Sequence[tuple[Sample, Outcome]]
) -> dict[str | None, list[tuple[Sample, Outcome]]]:
    """Samples and outcomes by their language, in the plan's order; all under None where it is not told."""
    field = protocol.language_field
    if not field or not any(field in sample.extra for sample, _ in own):
        return {None: list(own)}
    parts: dict[str | None, list[tuple[Sample, Outcome]]] = {}
    for sample, outcome in own:
        parts.setdefault(str(sample.extra.get(field) or "other"), []).append((sample, outcome))
    return parts


def _published(protocol: ProtocolConfig, languages: Sequence[str | None]) -> list[dict[str, Any]]:
    """What others have published in these languages, with a value or None for each figure of each of them."""
    return [
        {
            "editor": one.editor,
            "judge": one.judge,
            "source": one.source,
            "date": one.date,
            "figures": [
                one.figures.get(name) if one.language in ("", language) or language is None else None
                for language in languages
                for name in protocol.figures
            ],
        }
        for one in protocol.published
        if one.language in ("", *languages) or None in languages
    ]


def _figure(name: str, protocol: ProtocolConfig, own: Sequence[tuple[Sample, Outcome]]) -> dict[str, Any]:
    figure, bounds = protocol.figures[name], protocol.bounds(name)
    concerned = [(sample, outcome) for sample, outcome in own if _counts(figure, protocol, sample)]
    values: list[_Value] = []
    lowest: list[_Value] = []
    scored = 0
    for sample, outcome in concerned:
        found = _values(figure, protocol, sample, outcome)
        scored += bool(found)
        values += found
        if not found and outcome["state"] in FAILURE_STATES:
            asked = len(set(figure.of) & protocol.scores_asked(sample.category, sample.extra))
            lowest += [_Value(bounds[0], sample.category, outcome["source"])] * asked
    return {
        "name": name,
        "unit": figure.unit,
        **_mean(figure, values, bounds),
        "with_failures_as_min": _mean(figure, values + lowest, bounds)["value"],
        "scored": scored,
        "planned": len(concerned),
        "categories": len({value.category for value in values}),
        "categories_planned": len(figure.categories or {sample.category for sample, _ in concerned}),
    }


def _counts(figure: FigureConfig, protocol: ProtocolConfig, sample: Sample) -> bool:
    """Whether a sample has a part in a figure."""
    return (
        (figure.categories is None or sample.category in figure.categories)
        and (figure.where is None or holds(sample.extra.get(figure.where)))
        and not protocol.scores_asked(sample.category, sample.extra).isdisjoint(figure.of)
    )


def _values(figure: FigureConfig, protocol: ProtocolConfig, sample: Sample, outcome: Outcome) -> list[_Value]:
    """A sample's values in a figure; none where one that it should have is missing."""
    named = outcome.get("named_scores") or {}
    asked = protocol.scores_asked(sample.category, sample.extra)
    found = [named.get(name) for name in figure.of if name in asked]
    known = [_Value(value, sample.category, outcome["source"]) for value in found if value is not None]
    return known if len(known) == len(found) else []


def _of_share(numbers: Sequence[float], bounds: tuple[float, float]) -> list[float]:
    """The interval of a mean of lowest and highest values, which is a share: Wilson's, which holds where all agree."""
    low, high = bounds
    share = rate(sum(number == high for number in numbers), len(numbers))
    return [low + (high - low) * end for end in share["interval"]]


def _mean(figure: FigureConfig, values: Sequence[_Value], bounds: tuple[float, float]) -> dict[str, Any]:
    numbers, sources = [value.value for value in values], [value.source for value in values]
    if figure.mean_of == "categories":
        found = macro_mean(numbers, [value.category for value in values], sources, bounds)
    else:
        found = clustered_mean(numbers, sources, bounds)
        if found["clusters"] == len(numbers) > 1 and set(numbers) <= set(bounds):
            found["interval"] = _of_share(numbers, bounds)
    return {"value": found["mean"], "standard_error": found["standard_error"], "interval": found["interval"]}
