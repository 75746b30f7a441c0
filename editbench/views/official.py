"""A benchmark's own figures, as all views show them, and the words for a scale."""

from typing import Any

from editbench.views.tables import between, rounded

_COLUMNS = ("figure", "value", "95 % interval", "scored", "categories", "failures at the minimum")


def scale_of(report: dict[str, Any]) -> tuple[float, float]:
    """Lowest and highest score of a report or a comparison; those of earlier versions are from 0 to 10."""
    low, high = report.get("scale") or (0.0, 10.0)
    return low, high


def official_rows(official: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and a row for each figure that concerns any sample, always beside what of the benchmark it rests on."""
    return _COLUMNS, [
        [
            figure["name"].replace("_", " "),
            _with_unit(figure["value"], figure),
            between(figure["interval"]),
            f"{figure['scored']} of {figure['planned']}",
            f"{figure['categories']} of {figure['categories_planned']}",
            _with_unit(figure["with_failures_as_min"], figure),
        ]
        for number, figure in enumerate(official["figures"])
        if figure["planned"] or not number
    ]


def published_rows(official: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and rows of what others have published: the figures that any of them gives."""
    published = official["published"] or []
    given = [at for at in range(len(official["figures"])) if any(one["figures"][at] is not None for one in published)]
    figures = [official["figures"][at] for at in given]
    header = ("editor", *(figure["name"].replace("_", " ") for figure in figures), "judge", "published in", "read on")
    return header, [
        [
            one["editor"],
            *(_with_unit(one["figures"][at], figure) for at, figure in zip(given, figures, strict=True)),
            one["judge"] or "–",
            one["source"],
            one["date"],
        ]
        for one in published
    ]


def official_sentence(official: dict[str, Any]) -> str:
    """By which protocol, with whose prompts, on how much of the benchmark."""
    prompts = official["prompts"]
    heads: dict[str | None, dict[str, Any]] = {}
    for figure in official["figures"]:
        heads.setdefault(figure.get("language"), figure)
    whose = (
        f"the prompts of {prompts['file']} (sha256 {prompts['sha256'][:12]})"
        if prompts
        else "editbench's own prompts, not the benchmark's: no figure is comparable with published ones"
    )
    return " ".join([f"Protocol {official['protocol']}, with {whose}.", *map(_rests_on, heads.values())])


def _rests_on(figure: dict[str, Any]) -> str:
    return (
        f"{figure['name'].replace('_', ' ').capitalize()} {_with_unit(figure['value'], figure)} rests on "
        f"{figure['scored']} of {figure['planned']} planned samples in {figure['categories']} of "
        f"{figure['categories_planned']} categories."
    )


PUBLISHED_NOTE = (
    "Published elsewhere, not measured here: by another judge, with the benchmark's own prompts, and other samples "
    "left out; publishers of the same editor differ too."
)


def _with_unit(value: float | None, figure: dict[str, Any]) -> str:
    return rounded(value) + (f" {figure['unit']}" if figure["unit"] and value is not None else "")
