"""Started by `bench/load.py`: builds a large dummy checkpoint, or loads it under torchrun and measures."""

import json
import sys
import time
from pathlib import Path

import torch

from bench.running import CHECKOUT, Watch, memory_kib
from editbench.components.load import construct, find_checkpoint
from editbench.config import load as config
from editbench.distributed.group import Group, process_group
from editbench.distributed.ranks import Ranks

DIM, HEADS = 1024, 8


def build(folder: Path, layers: int, encoder_layers: int) -> None:
    """Write a Qwen-Image-Edit pipeline in bfloat16 with all weights 0.01: 75 MB a layer, 27 MB an encoder layer."""
    from diffusers import QwenImageEditPipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    pipe = QwenImageEditPipeline.from_pretrained(CHECKOUT / "checkpoints/tiny/qwen_image_edit", dtype=torch.bfloat16)
    narrow = pipe.text_encoder.config
    narrow.text_config.update({"hidden_size": DIM, "intermediate_size": 4 * DIM, "num_hidden_layers": encoder_layers})
    narrow.text_config.update({"layer_types": ["full_attention"] * encoder_layers})
    narrow.vision_config.update({"out_hidden_size": DIM})
    with torch.device("meta"):
        transformer = QwenImageTransformer2DModel(
            in_channels=64,
            out_channels=16,
            num_layers=layers,
            attention_head_dim=DIM // HEADS,
            num_attention_heads=HEADS,
            joint_attention_dim=DIM,
            axes_dims_rope=(16, 56, 56),
        )
        text_encoder = Qwen2_5_VLForConditionalGeneration(narrow)
    for model in (transformer, text_encoder):
        model.to(torch.bfloat16).to_empty(device="cpu")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.01)
    pipe.register_modules(transformer=transformer, text_encoder=text_encoder)
    pipe.save_pretrained(folder)


def load(folder: Path, result: Path) -> None:
    """Load the checkpoint on all ranks at once, as phase 1 does, and read every weight; rank 0 writes what it took."""
    ranks = Ranks.from_env()
    settings = config.load(["editor=tiny", "run_name=x", f"editor.checkpoint={folder}", "editor.dtype=bfloat16"])
    tiny = config.load(["editor=tiny", "run_name=x"])
    with process_group(ranks, settings.distributed) as group:
        checkpoint = find_checkpoint(settings.editor, download=False)
        warm = construct(tiny.editor, "editor", find_checkpoint(tiny.editor, download=False), device="cpu")  # imports
        before = _all_pss(group)
        with PrivatePeak() as peak:
            torch.distributed.barrier()
            began = time.perf_counter()
            with group.loading_turn(8):
                editor = construct(settings.editor, "editor", checkpoint, device="cpu")
            torch.distributed.barrier()
            load_s = time.perf_counter() - began
            for module in editor._pipe.components.values():
                if isinstance(module, torch.nn.Module):
                    for parameter in module.parameters():
                        parameter.view(torch.int16).max()  # reads all of it
            torch.distributed.barrier()
            read_s = time.perf_counter() - began
        facts = {"memory_bytes": _all_pss(group) - before, "private_peak_bytes": peak.bytes}
        del warm
        if ranks.rank == 0:
            result.write_text(json.dumps({"load_s": load_s, "read_s": read_s, **facts}))


class PrivatePeak(Watch):
    """The most anonymous memory this process had beyond what it had at first, sampled every 10 ms."""

    every_s = 0.01

    def __init__(self) -> None:
        self.bytes, self._before = 0, self._now()

    def look(self) -> None:
        """Take what it has now."""
        self.bytes = max(self.bytes, self._now() - self._before)

    def _now(self) -> int:
        return memory_kib("self", "status")["RssAnon"] * 1024


def _all_pss(group: Group) -> int:
    """Proportional set size of all ranks in bytes: a page that n processes share counts 1/n for each."""
    torch.distributed.barrier()
    mine = memory_kib("self", "smaps_rollup")["Pss"] * 1024
    total = sum(group.all_gather(mine))
    torch.distributed.barrier()
    return total


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        load(Path(sys.argv[2]), Path(sys.argv[3]))
