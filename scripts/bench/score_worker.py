"""Started by `bench/score.py` with settings as JSON: times every way to judge the same edits, in turn.

Sides `generate n` and `expected n` go through the loop of phase 2 in batches of n, from the PNG in its shard to the
judgment. On inputs prepared before, `forward n` runs the model alone over the whole prompts, padded on the right and
so without the mask that costs attention its fast path, and `probabilities n` what the judge does, which reads the
rubric once per category. `prepare n` runs alone what comes before the model. `decision` is transformers' pipeline
of that name (5.23: `pipeline("decision")`, typed questions answered by the probabilities of label tokens from one
forward pass, no batching): the same prompts, images and labels, asked as a question of type `score` whose ten levels
are the digits.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline
from transformers.decision import DecisionConfig

from bench.measure import alternate
from bench.running import CHECKOUT
from editbench import images
from editbench.components.load import construct, find_checkpoint
from editbench.config import load as config
from editbench.judges.base import Request
from editbench.judges.batches import BatchJudge
from editbench.judges.prompt_prefix import PromptPrefixes
from editbench.judges.prompts import by_rubric, prompts
from editbench.run.folder import RunDir
from editbench.run.records import JudgeTask
from editbench.run.shards import read_image
from editbench.todo import cut_batches, find_judge_tasks

SIZES = (4, 8)
PLACEHOLDER = "<the picture>"


class Bench:
    """One judge, its tasks, and the sides that are timed."""

    def __init__(self, run: str, checkpoint: str, new_tokens: int, decided: int, given: list[str]) -> None:
        torch.set_num_threads(1)
        self._run_dir, self._decided = RunDir(Path(run)), decided
        overrides = [
            f"run_dir={run}",
            "run_name=bench",
            "dataset=json_file",
            "judge=tiny",
            f"judge.checkpoint={CHECKOUT / 'checkpoints/tiny' / checkpoint}",
            f"judge.max_new_tokens={new_tokens}",
            "judge.complete_replies=false",
            *given,
        ]
        self._configs = {mode: config.load([*overrides, f"judge.mode={mode}"]) for mode in ("generate", "expected")}
        found = find_checkpoint(self._configs["generate"].judge, download=False)
        self._judge = construct(self._configs["generate"].judge, "judge", found, devices=["cpu"])
        self._judge.check_labels(list(self._configs["expected"].judge.labels))
        plan = self._run_dir.read_plan()
        assert plan is not None
        self._tasks = {
            mode: find_judge_tasks(settings, self._run_dir, plan, found)[0] for mode, settings in self._configs.items()
        }
        self._decide = pipeline(
            "decision",
            model=self._judge._model,
            processor=self._judge._processor,
            tokenizer=self._judge._processor.tokenizer,
            decision_config=DecisionConfig(labels={"score": [str(digit) for digit in range(10)]}),
        )

    def sides(self) -> dict[str, Callable[[], float]]:
        """Every side by name; each returns seconds per sample."""
        sides: dict[str, Callable[[], float]] = {}
        for size in (1, *SIZES):
            sides[f"generate {size}"] = functools.partial(self._judge_all, "generate", size)
            sides[f"expected {size}"] = functools.partial(self._judge_all, "expected", size)
        for size in SIZES:
            prepared = [self._judge.prepare(batch) for batch in self._requests(size)]
            sides[f"forward {size}"] = functools.partial(self._forward, prepared)
            sides[f"probabilities {size}"] = functools.partial(self._probabilities, prepared)
            sides[f"prepare {size}"] = functools.partial(self._prepare, size)
        return sides | {"decision": self._decision}

    def tokens(self) -> list[float]:
        """Mean length of the prompts of mode `expected`, and of the decision pipeline's."""
        lengths = [self._judge.prepare(batch).inputs["input_ids"].shape[1] for batch in self._requests(1)]
        theirs = [
            self._decide.preprocess(self._question(t))["prompts"][0][0]["input_ids"].shape[1] for t in self._some()
        ]
        return [sum(lengths) / len(lengths), sum(theirs) / len(theirs)]

    def _judge_all(self, mode: str, size: int) -> float:
        self._forget_prefixes()
        tasks = self._tasks[mode]
        batches = cut_batches(tasks, size)
        began = time.perf_counter()
        draws = zip(batches, [*batches[1:], None], strict=True)
        done = list(BatchJudge(self._judge, None, self._configs[mode], self._run_dir).run(draws))
        seconds = time.perf_counter() - began
        failed = [judgment.error for batch in done for judgment in batch if judgment.state == "judge_failed"]
        assert not failed, failed[0]
        assert sum(map(len, done)) == len(tasks)
        return seconds / len(tasks)

    def _forget_prefixes(self) -> None:
        """As in a run that begins."""
        self._judge._prefixes = PromptPrefixes(self._judge._model)

    def _forward(self, prepared: list[Any]) -> float:
        names = ("input_ids", "mm_token_type_ids", "pixel_values", "image_grid_thw")
        whole = [{name: p.inputs[name] for name in names} for p in prepared]
        began = time.perf_counter()
        with torch.inference_mode():
            for inputs in whole:
                self._judge._model(**inputs, logits_to_keep=1, use_cache=False)
        return (time.perf_counter() - began) / len(self._tasks["expected"])

    def _probabilities(self, prepared: list[Any]) -> float:
        self._forget_prefixes()
        labels = list(self._configs["expected"].judge.labels)
        began = time.perf_counter()
        for batch in prepared:
            self._judge.label_probabilities(batch, labels)
        return (time.perf_counter() - began) / len(self._tasks["expected"])

    def _prepare(self, size: int) -> float:
        began = time.perf_counter()
        for batch in self._requests(size):
            self._judge.prepare(batch)
        return (time.perf_counter() - began) / len(self._tasks["expected"])

    def _decision(self) -> float:
        tasks = self._some()
        began = time.perf_counter()
        with torch.inference_mode():
            for task in tasks:
                self._decide(self._question(task))
        return (time.perf_counter() - began) / len(tasks)

    def _some(self) -> list[JudgeTask]:
        return self._tasks["expected"][: self._decided]

    def _requests(self, size: int) -> list[list[Request]]:
        loop = BatchJudge(self._judge, None, self._configs["expected"], self._run_dir)
        return [
            [request for task in batch for request in loop.requests(task)]
            for batch in cut_batches(self._tasks["expected"], size)
        ]

    def _question(self, task: JudgeTask) -> dict[str, Any]:
        edit, settings = task.edit, self._configs["expected"]
        system, user = prompts(by_rubric(settings.rubrics[task.sample.category], False), task.sample)
        png = read_image(self._run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        question = {"type": "score", "instructions": user, "criteria": [str(digit) for digit in range(10)]}
        state = f"{system}\n{PLACEHOLDER}"
        return {"state": state, "questions": {"q": question}, "assets": {PLACEHOLDER: images.decode_rgb(png)}}


def main(
    run: str, checkpoint: str, repeats: int, new_tokens: int, decided: int, result: str, overrides: list[str]
) -> None:
    """Warm up, time all sides in turn, and write seconds per sample of each."""
    bench = Bench(run, checkpoint, new_tokens, decided, overrides)
    sides = bench.sides()
    for name in ("generate 4", "expected 4", "decision"):
        sides[name]()
    seconds = alternate(sides, repeats)
    ours, theirs = bench.tokens()
    Path(result).write_text(json.dumps(seconds | {"prompt tokens, new tokens": [ours, new_tokens, theirs]}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
