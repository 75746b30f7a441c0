"""Runs against each other: pairs of runs by sample, corrected for their number, and a ranking."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from editbench.analysis.paired import compare_scores, holm, tells_apart
from editbench.analysis.statistics import TEN, Scale, clustered_mean
from editbench.run.records import FAILURE_STATES

Outcomes = Mapping[str, Mapping[str, Any]]
"""A run's outcomes by sample id."""

_SAMPLE = ("source", "instruction", "description", "category")


def compare_pair(base: Outcomes, other: Outcomes, scale: Scale = TEN) -> dict[str, Any]:
    """Compare two runs on the samples that both have.

    Returns:
        The `scale`; `counts` of `shared` samples, those in one run alone, and shared ones without a score; `overall`
        and, by name, `categories` with what `compare_scores` gives of the samples that have both scores, the
        categories' p corrected for their number as `p_holm`; `failures_as_min`: the same difference with failed samples
        at the scale's lower end.
    """
    shared = [sample_id for sample_id in base if sample_id in other]
    scored = [i for i in shared if base[i]["score"] is not None and other[i]["score"] is not None]
    categories = {
        name: _compare(base, other, [i for i in scored if base[i]["category"] == name], scale)
        for name in dict.fromkeys(base[i]["category"] for i in shared)
    }
    for name, p in holm({name: found["p"] for name, found in categories.items()}).items():
        categories[name]["p_holm"] = p
    return {
        "scale": list(scale),
        "counts": {
            "shared": len(shared),
            "both_scored": len(scored),
            "only_in_base": len(base) - len(shared),
            "only_in_other": len(other) - len(shared),
            "without_score_in_base": sum(base[i]["score"] is None for i in shared),
            "without_score_in_other": sum(other[i]["score"] is None for i in shared),
        },
        "overall": _compare(base, other, scored, scale),
        "failures_as_min": _with_failures(base, other, shared, scale),
        "categories": categories,
    }


def _compare(base: Outcomes, other: Outcomes, ids: Sequence[str], scale: Scale) -> dict[str, Any]:
    sources = [base[i]["source"] for i in ids]
    return compare_scores([base[i]["score"] for i in ids], [other[i]["score"] for i in ids], sources, scale)


def _with_failures(base: Outcomes, other: Outcomes, ids: Sequence[str], scale: Scale) -> dict[str, Any]:
    """The difference over all samples that both have done, failures at the lower end: no editor must win by failing."""
    states = ("scored", *FAILURE_STATES)
    done = [i for i in ids if base[i]["state"] in states and other[i]["state"] in states]
    low, width = scale[0], scale[1] - scale[0]
    scores = [[low if run[i]["score"] is None else run[i]["score"] for run in (base, other)] for i in done]
    differences = [after - before for before, after in scores]
    found = clustered_mean(differences, [base[i]["source"] for i in done], within=(-width, width))
    return {"n": found["n"], "difference": found["mean"], "interval": found["interval"]}


def compare_all(runs: Mapping[str, Outcomes], scale: Scale = TEN) -> dict[str, Any]:
    """Compare every run with every other one.

    Args:
        runs: Outcomes by the run's name, two or more; the first is the base.
        scale: Lowest and highest score.

    Returns:
        `pairs`: for each two runs their names as `base` and `other` and what `compare_pair` gives, the overall p
        corrected for the number of pairs as `p_holm` where there are several; `ranking`, with three runs or more: the
        names by mean over the samples that all have scored, the highest first, each with `mean`, `n`, and whether it
        `ties_with_next`: the two cannot be told apart.
    """
    pairs = [
        {"base": base, "other": other, **compare_pair(runs[base], runs[other], scale)}
        for base, other in itertools.combinations(runs, 2)
    ]
    for index, p in holm({str(i): pair["overall"]["p"] for i, pair in enumerate(pairs)}).items():
        pairs[int(index)]["overall"]["p_holm"] = p
    return {"pairs": pairs, "ranking": _ranking(runs, pairs) if len(runs) > 2 else None}


def _ranking(runs: Mapping[str, Outcomes], pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first, *others = runs.values()
    common = [i for i in first if all(i in run and run[i]["score"] is not None for run in (first, *others))]
    means = {name: float(np.mean([run[i]["score"] for i in common])) if common else None for name, run in runs.items()}
    names = sorted(runs, key=lambda name: -(means[name] or 0.0))
    apart = {frozenset((pair["base"], pair["other"])) for pair in pairs if tells_apart(pair["overall"])}
    return [
        {
            "name": name,
            "mean": means[name],
            "n": len(common),
            "ties_with_next": following is not None and frozenset((name, following)) not in apart,
        }
        for name, following in itertools.zip_longest(names, names[1:])
    ]


def list_samples(runs: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
    """List the samples that the first two runs share, the largest loss of the second one first, those without last."""
    base, other = list(runs)[:2]
    samples = [
        {
            **{key: outcome[key] for key in ("sample_id", "key", *_SAMPLE)},
            "scores": {name: run[i]["score"] if i in run else None for name, run in runs.items()},
            "states": {name: run[i]["state"] if i in run else None for name, run in runs.items()},
            "difference": _difference(outcome["score"], runs[other][i]["score"]),
        }
        for i, outcome in runs[base].items()
        if i in runs[other]
    ]
    return sorted(samples, key=lambda sample: (sample["difference"] is None, sample["difference"] or 0.0))


def _difference(base: float | None, other: float | None) -> float | None:
    return None if base is None or other is None else other - base


def differing_samples(base: Outcomes, other: Outcomes) -> list[str]:
    """Say which samples of the same id are not the same sample, as sentences."""
    found: dict[str, list[str]] = {}
    for sample_id in base:
        for key in _SAMPLE if sample_id in other else ():
            if base[sample_id][key] != other[sample_id][key]:
                found.setdefault(key, []).append(sample_id)
    return [f"the {key} of {len(ids)} samples of the same id (e.g. {ids[0]!r})" for key, ids in found.items()]
