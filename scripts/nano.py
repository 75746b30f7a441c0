"""Makes the nano editor and the nano judge from nothing, stage by stage.

    python scripts/nano.py all                      every stage in turn, then export and evaluation
    python scripts/nano.py vae|text_encoder|denoiser|vae_own
    python scripts/nano.py export_editor            models/nano/editor and stages, from the checkpoints of the training
    python scripts/nano.py judge|judge_on|judge_answer        the last two need the exported editor
    python scripts/nano.py export_judge             models/nano/judge
    python scripts/nano.py evaluate                 the tables of docs/nano.md, by the tool's own editor and judge
    python scripts/nano.py dataset                  data/scenes
    python scripts/nano.py stage early|middle DIR   a whole editor of an earlier stage

Stopped at any moment, the same command goes on from the checkpoint of the last minute. Checkpoints and curves (JSON
lines) are in `checkpoints/nano/training`. A stage takes one thread and up to an hour.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's editbench, installed or not

import torch
from nano import dataset, denoiser, export, judge_training, outcomes, report, text_encoder, vae
from nano.denoiser import Frozen, trained_denoiser

CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING = CHECKOUT / "checkpoints" / "nano" / "training"
SHIPPED = CHECKOUT / "models" / "nano"
OWN = 1600  # edits by each stage of the editor, for the judge to learn from


def train_decoder_on_own(training: Path) -> None:
    """Train the VAE's decoder on what the denoiser makes."""
    frozen, core = Frozen.trained(training), vae.trained_core(training, "vae")
    vae.train_decoder(core, training, outcomes.own_latents(frozen, trained_denoiser(training)))


def train_judge_on(training: Path) -> None:
    """Train the judge further, on synthetic outcomes and on what the exported editor makes at three stages."""
    judge_training.train_on(training, outcomes.mixed(outcomes.own_outcomes(SHIPPED, OWN)))


def train_judge_answer(training: Path) -> None:
    """Train the judge's answer further, on others such."""
    judge_training.train_answer(training, outcomes.mixed(outcomes.own_outcomes(SHIPPED, OWN, seed=72_000)))


def export_editor(training: Path) -> None:
    """Write models/nano/editor and models/nano/stages."""
    export.export_editor(training, SHIPPED / "editor")
    for stage in export.STAGES:
        export.export_stage(training, stage, SHIPPED / "stages" / stage)


STAGES = {
    "vae": vae.train,
    "text_encoder": text_encoder.train,
    "denoiser": denoiser.train,
    "vae_own": train_decoder_on_own,
    "export_editor": export_editor,
    "judge": judge_training.train,
    "judge_on": train_judge_on,
    "judge_answer": train_judge_answer,
    "export_judge": lambda training: export.export_judge(training, SHIPPED / "judge"),
    "evaluate": lambda _: report.evaluate(SHIPPED),
    "dataset": lambda _: dataset.write(CHECKOUT / "data" / "scenes"),
}


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*STAGES, "all", "stage"])
    parser.add_argument("rest", nargs="*", help="of `stage`: which one, and the folder to write to")
    parser.add_argument("--training", type=Path, default=TRAINING, help="folder of checkpoints and curves")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.what == "stage":
        if len(options.rest) != 2 or options.rest[0] not in export.STAGES:
            parser.error("give `stage early DIR` or `stage middle DIR`")
        export.assemble_stage(SHIPPED, options.rest[0], Path(options.rest[1]))
        return
    names = [name for name in STAGES if name != "dataset"] if options.what == "all" else [options.what]
    for name in names:
        STAGES[name](options.training)


if __name__ == "__main__":
    main()
