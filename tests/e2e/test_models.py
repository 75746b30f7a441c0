"""The real classes with tiny random weights: the same results on any number of processes and in any batch."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import infer_auto_device_map, init_empty_weights
from accelerate.utils import compute_module_sizes
from benchmark_file import make_picture
from PIL import Image
from running import CHECKOUT, run_phase
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLForConditionalGeneration

from editbench.editors.diffusers_pipeline import DiffusersEditor, pass_mm_token_type_ids
from editbench.errors import InvalidOutputError, UserError
from editbench.judges.base import CUT_OFF, Request
from editbench.judges.labels import read_labels
from editbench.judges.prompt_prefix import ATTENTION
from editbench.judges.qwen3_vl import NUMBER_TOKENS, Qwen3VLJudge
from editbench.judges.reply import continuation, parse_score, read_score
from editbench.results import judges_of
from editbench.run.folder import RunDir
from editbench.run.shards import read_image

PIPELINES = {"QwenImageEditPipeline": "qwen_image_edit", "QwenImageEditPlusPipeline": "qwen_image_edit_plus"}
JUDGES = ["qwen3_vl", "qwen3_vl_moe", "qwen3_vl_nonsense", "qwen3_vl_moe_nonsense"]
SIZES = [(256, 256), (320, 200), (64, 64), (90, 300)]
QUICK = {"dtype": "float32", "height": 128, "width": 128, "num_inference_steps": 2}
GUIDED = {**QUICK, "true_cfg_scale": 4.0, "negative_prompt": " "}

pytestmark = pytest.mark.usefixtures("tiny_checkpoints")


def no_step(_done: int, _total: int) -> None:
    pass


# Numbers of processes


DEMO = ["editor=tiny", "judge=tiny", f"dataset.path={CHECKOUT / 'data' / 'demo' / 'demo.json'}"]


def results_of(run_dir: Path, world_size: int, overrides: list[str]) -> dict[str, Any]:
    """Edit and judge; returns PNG bytes and judgment of every sample."""
    for phase in ("edit", "score"):
        run_phase(phase, run_dir, overrides, world_size)
    run = RunDir(run_dir)
    judged = run.read_judgments(judges_of(run)[0])
    results = {}
    for sample in run.read_plan().samples:
        edit, judgment = run.read_edits()[sample.sample_id], judged[sample.sample_id]
        png = read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        results[sample.sample_id] = (png, judgment.state, judgment.score, judgment.reply, judgment.unit)
    return results


@pytest.mark.slow
def test_one_and_two_processes_make_the_same_pictures_and_judgments(tmp_path: Path) -> None:
    # more samples than a batch holds, so that both processes judge
    overrides = [*DEMO, "limit=4", "judge.batch_size=2"]
    alone, pair = (results_of(tmp_path / f"world{size}", size, overrides) for size in (1, 2))
    assert len(alone) == 4
    assert len({png for png, *_ in alone.values()}) == 4
    assert [state for _, state, *_ in alone.values()] == ["scored"] * 4
    assert pair == alone


@pytest.mark.parametrize("sizes", [(1, 3), pytest.param((1, 2, 3), marks=pytest.mark.slow)])
def test_the_nano_models_make_the_same_pictures_and_judgments(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """With all defaults but fewer scenes: what a first run does."""
    overrides = ["limit=3", "judge.batch_size=2"]
    alone, *others = (results_of(tmp_path / f"world{size}", size, overrides) for size in sizes)
    assert [state for _, state, *_ in alone.values()] == ["scored"] * 3
    assert others == [alone] * (len(sizes) - 1)


@pytest.mark.slow
def test_the_whole_demo_is_the_same_on_1_2_3_and_6_processes(tmp_path: Path) -> None:
    alone = results_of(tmp_path / "world1", 1, DEMO)
    samples = json.loads((CHECKOUT / "data" / "demo" / "demo.json").read_text(encoding="utf-8"))
    assert len(alone) == len(samples) >= 10
    for size in (2, 3, 6):
        assert results_of(tmp_path / f"world{size}", size, DEMO) == alone


# Batches


def make_requests(count: int) -> list[Request]:
    """Requests with one and two images of mixed sizes, and texts of mixed lengths."""
    requests = []
    for k in range(count):
        images = tuple(make_picture(3 * k + i, SIZES[(k + i) % len(SIZES)]) for i in range(1 + k % 2))
        requests.append(Request(k, "You are a careful judge.", "Judge this. " + "make it night, " * k, images))
    return requests


@pytest.mark.parametrize("name", JUDGES)
def test_replies_in_batches_equal_replies_one_by_one(tiny_checkpoints: Path, name: str) -> None:
    torch.set_num_threads(1)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / name), dtype="float32", max_new_tokens=24)
    requests = make_requests(8)
    single = [judge.reply(judge.prepare([request]))[0] for request in requests]
    assert len(set(single)) >= 4
    scores = [parse_score(reply) for reply in single]
    assert all((score is None) == name.endswith("nonsense") for score in scores)
    for size in (2, 4, 8):
        batched = [reply for k in range(0, 8, size) for reply in judge.reply(judge.prepare(requests[k : k + size]))]
        assert batched == single, f"in batches of {size}"
        assert [parse_score(reply) for reply in batched] == scores


def test_prepared_images_are_in_the_models_type_and_pinned_for_a_gpu(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny_checkpoints / "qwen3_vl")
    exact, half = (Qwen3VLJudge(["cpu"], folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    requests = make_requests(3)
    expected = exact.prepare(requests).inputs
    assert expected["pixel_values"].dtype == torch.float32
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    half.prepare(requests)
    assert not pinned
    monkeypatch.setattr(half, "_pinned", True)
    inputs = half.prepare(requests).inputs
    assert list(map(id, pinned)) == list(map(id, inputs.values()))
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"].bfloat16())
    assert inputs["pixel_values"].dtype == torch.bfloat16


def test_batches_are_prepared_in_several_threads_as_in_one(tiny_checkpoints: Path) -> None:
    torch.set_num_threads(1)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32")
    requests = make_requests(8)
    batches = [requests[k : k + size] for size in (1, 2, 3) for k in range(0, 8, size)]
    expected = [judge.prepare(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(expected * 3, pool.map(judge.prepare, batches * 3), strict=True):
            assert one.prefix == other.prefix
            assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)


@pytest.mark.parametrize("name", JUDGES)
def test_completions_in_batches_equal_those_one_by_one_and_go_on_with_the_judges_own_turn(
    tiny_checkpoints: Path, name: str
) -> None:
    torch.set_num_threads(1)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / name), dtype="float32", max_new_tokens=24)
    replies = ["", "I cannot say.", "Gravity: 7/10. " * 9, "<think>hm</think>\nno"]
    requests = [
        dataclasses.replace(request, answer_start=continuation(reply), wanted="number")
        for request, reply in zip(make_requests(4), replies, strict=True)
    ]
    single = [judge.reply(judge.prepare([request]))[0] for request in requests]
    assert judge.reply(judge.prepare(requests)) == single
    for request, completion in zip(requests, single, strict=True):
        tokens = judge._model.generate(**whole_prompt(judge, request), max_new_tokens=NUMBER_TOKENS, do_sample=False)
        expected = judge._processor.batch_decode(tokens[:, -NUMBER_TOKENS:], skip_special_tokens=True)[0]
        assert expected.endswith(completion.removesuffix(CUT_OFF))
        assert (read_score("", completion) is None) == name.endswith("nonsense")


DIGITS = [str(digit) for digit in range(10)]


def whole_prompt(judge: Qwen3VLJudge, request: Request) -> dict[str, torch.Tensor]:
    """A request as the processor alone lays it out, without padding."""
    shown = [{"type": "image", "image": image} for image in request.images]
    turns = [
        {"role": "system", "content": [{"type": "text", "text": request.system}]},
        {"role": "user", "content": [*shown, {"type": "text", "text": request.user}]},
    ]
    begun = [{"role": "assistant", "content": [{"type": "text", "text": request.answer_start}]}]
    return judge._processor.apply_chat_template(
        turns + begun * bool(request.answer_start),
        tokenize=True,
        add_generation_prompt=not request.answer_start,
        continue_final_message=bool(request.answer_start),
        return_dict=True,
        return_tensors="pt",
    )


@torch.inference_mode()
@pytest.mark.parametrize("name", JUDGES)
def test_what_prompts_share_is_read_once_and_changes_no_answer(tiny_checkpoints: Path, name: str) -> None:
    torch.set_num_threads(1)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / name), dtype="float32", max_new_tokens=24)
    asked = make_requests(6)
    begun = [dataclasses.replace(request, answer_start="Score: ", wanted="label") for request in asked]
    replies, likely = [], []
    for request, start in zip(asked, begun, strict=True):
        prompt = whole_prompt(judge, request)
        tokens = judge._model.generate(**prompt, max_new_tokens=24, do_sample=False)
        replies += judge._processor.batch_decode(tokens[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        likely.append(torch.softmax(judge._model(**whole_prompt(judge, start)).logits[0, -1].double(), dim=-1))

    read: list[int] = []  # the number of tokens of every pass through the model
    judge._model.model.language_model.register_forward_pre_hook(
        lambda _module, _args, given: read.append(given["inputs_embeds"].shape[1]), with_kwargs=True
    )
    assert [reply.removesuffix(CUT_OFF) for reply in judge.reply(judge.prepare(asked))] == replies
    prefix, rest, *steps = read
    assert prefix > len("You are a careful judge.") // 8 and rest > 0 and set(steps) <= {1}
    assert prefix + rest == max(whole_prompt(judge, request)["input_ids"].shape[1] for request in asked)
    read.clear()
    for k in (0, 3):
        rows = judge.label_probabilities(judge.prepare(begun[k : k + 3]), DIGITS)
        for row, expected in zip(rows, likely[k : k + 3], strict=True):
            columns = [judge._label_tokens[digit] for digit in DIGITS]
            assert row == pytest.approx(expected[columns].tolist(), abs=1e-5)
    assert len(read) == 2  # what is kept of the replies serves here too
    other = [dataclasses.replace(request, system="You judge severely.") for request in begun[:2]]
    judge.label_probabilities(judge.prepare(other), DIGITS)
    assert len(read) == 4
    assert judge._model.config.text_config._attn_implementation == ATTENTION


@pytest.mark.parametrize(
    "settings", [{"use_cache": False}, {"cache_implementation": "static"}, {"num_beams": 2}, {"do_sample": True}]
)
def test_a_checkpoints_settings_for_generating_change_no_reply(
    tiny_checkpoints: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    shutil.copytree(tiny_checkpoints / "qwen3_vl", tmp_path / "judge")
    config = tmp_path / "judge" / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | settings))
    plain, other = (
        Qwen3VLJudge(["cpu"], str(folder), dtype="float32", max_new_tokens=12)
        for folder in (tiny_checkpoints / "qwen3_vl", tmp_path / "judge")
    )
    requests = make_requests(3)
    assert other.reply(other.prepare(requests)) == plain.reply(plain.prepare(requests))


def refuse_to_generate(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing is to be generated")


@pytest.mark.parametrize("name", JUDGES)
def test_label_probabilities_in_batches_equal_those_one_by_one(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch.set_num_threads(1)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / name), dtype="float32", max_new_tokens=24)
    judge.check_labels(DIGITS)
    requests = make_requests(8)
    replies = judge.reply(judge.prepare(requests))
    monkeypatch.setattr(judge._model, "generate", refuse_to_generate)
    begun = [dataclasses.replace(request, answer_start="Score: ", wanted="label") for request in requests]
    single = [judge.label_probabilities(judge.prepare([request]), DIGITS)[0] for request in begun]
    scores = {str(digit): float(digit) for digit in range(10)}
    found = [read_labels(row, scores, 0.5) for row in single]
    if name.endswith("nonsense"):
        assert all(one.score is None and 0 < one.mass < 0.1 for one in found)
    else:  # the most likely label is the digit that greedy decoding would have gone on with
        assert [f"Score: {one.label}" for one in found] == [reply[:8] for reply in replies]
        assert len({one.score for one in found}) == 8 and all(one.spread > 0 for one in found)
    for size in (2, 4, 8):
        batches = [judge.prepare(begun[k : k + size]) for k in range(0, 8, size)]
        batched = [row for prepared in batches for row in judge.label_probabilities(prepared, DIGITS)]
        for one, row in zip(found, batched, strict=True):
            other = read_labels(row, scores, 0.5)
            assert list(other.probabilities.values()) == pytest.approx(list(one.probabilities.values()), abs=1e-5)
            assert (other.score, other.spread) == pytest.approx((one.score, one.spread), abs=1e-5)


def test_labels_have_to_be_single_tokens(tiny_checkpoints: Path) -> None:
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32")
    with pytest.raises(UserError, match=r"judge\.labels: '10' is no token of its own behind 'Score: '"):
        judge.check_labels([*DIGITS, "10"])


def test_logits_of_nan_are_no_probabilities_and_fail_their_sample_alone(tiny_checkpoints: Path) -> None:
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32")
    begun = [dataclasses.replace(request, answer_start="Score: ", wanted="label") for request in make_requests(2)]
    prepared = judge.prepare(begun)

    def spoil(_module: Any, _args: Any, logits: torch.Tensor) -> None:
        logits[1, 7] = float("inf")

    judge._model.lm_head.register_forward_hook(spoil)
    good, bad = judge.label_probabilities(prepared, DIGITS)
    assert sum(good) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(ValueError, match="no probabilities"):
        read_labels(bad, dict.fromkeys(DIGITS, 1.0), 0.5)


# Prompt embeddings (huggingface/diffusers#14194)


def load_editor(root: Path, pipeline: str, **changes: Any) -> DiffusersEditor:
    return DiffusersEditor("cpu", pipeline, str(root / PIPELINES[pipeline]), **{**GUIDED, **changes})


def record_encoding(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Record what the pipeline's processor puts out, what its encoder is given, and the embeddings made of that."""
    seen: dict[str, list[Any]] = {"processed": [], "given": [], "embeddings": []}
    cls = type(pipe.processor)
    process, encode = cls.__call__, pipe.encode_prompt

    def recording_process(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen["processed"].append(process(self, *args, **kwargs))
        return seen["processed"][-1]

    def recording_encode(*args: Any, **kwargs: Any) -> Any:
        result = encode(*args, **kwargs)
        seen["embeddings"].append(result[0])
        return result

    def record_given(_module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        assert not args
        seen["given"].append(dict(kwargs))

    monkeypatch.setattr(cls, "__call__", recording_process)
    monkeypatch.setattr(pipe, "encode_prompt", recording_encode)
    pipe.text_encoder.register_forward_pre_hook(record_given, with_kwargs=True)  # behind the hook under test
    return seen


@torch.inference_mode()
def embed_directly(root: Path, pipe: Any, processed: Any) -> torch.Tensor:
    """What a text encoder of its own makes of all that the processor put out."""
    folder = root / PIPELINES[type(pipe).__name__] / "text_encoder"
    encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    hidden = encoder(**processed, output_hidden_states=True).hidden_states[-1]
    return hidden[:, pipe.prompt_template_encode_start_idx :]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_prompt_embeddings_equal_a_direct_call_with_all_processor_outputs(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    torch.set_num_threads(1)
    editor = load_editor(tiny_checkpoints, pipeline)
    seen = record_encoding(editor._pipe, monkeypatch)
    editor.edit(make_picture(1, (320, 200)), "turn the sky red", 0, no_step)
    assert [len(records) for records in seen.values()] == [2, 2, 2]  # the instruction, and the negative prompt
    for processed, given, embeddings in zip(*seen.values(), strict=True):
        token_types = processed["mm_token_type_ids"]
        assert token_types.any() and not token_types.all()
        assert torch.equal(given["mm_token_type_ids"], token_types)
        assert torch.equal(embeddings, embed_directly(tiny_checkpoints, editor._pipe, processed))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_without_the_hook_the_embeddings_are_wrong(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    """Fails once diffusers passes `mm_token_type_ids` by itself: then `pass_mm_token_type_ids` can go."""
    torch.set_num_threads(1)
    monkeypatch.setattr("editbench.editors.diffusers_pipeline.pass_mm_token_type_ids", lambda encoder: None)
    editor = load_editor(tiny_checkpoints, pipeline)
    seen = record_encoding(editor._pipe, monkeypatch)
    editor.edit(make_picture(1, (320, 200)), "turn the sky red", 0, no_step)
    for processed, given, embeddings in zip(*seen.values(), strict=True):
        assert given.get("mm_token_type_ids") is None
        direct = embed_directly(tiny_checkpoints, editor._pipe, processed)
        assert (embeddings - direct).abs().max() > 1e-2 * direct.abs().max()


def test_the_hook_leaves_alone_what_a_pipeline_passes_itself() -> None:
    class Encoder(torch.nn.Module):
        config = type("Config", (), {"image_token_id": 7})

        def forward(self, **kwargs: Any) -> dict[str, Any]:
            return kwargs

    encoder = Encoder()
    pass_mm_token_type_ids(encoder)
    ids, own = torch.tensor([[1, 7, 7, 2]]), torch.tensor([[0, 2, 2, 0]])
    assert encoder(input_ids=ids)["mm_token_type_ids"].tolist() == [[0, 1, 1, 0]]
    assert encoder(input_ids=ids, mm_token_type_ids=None)["mm_token_type_ids"].tolist() == [[0, 1, 1, 0]]
    assert encoder(input_ids=ids, mm_token_type_ids=own)["mm_token_type_ids"] is own
    assert "mm_token_type_ids" not in encoder(inputs_embeds=torch.zeros(1, 4, 8))


# The editor's errors


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pipeline": "QwenImageEditPipelin"}, "close are QwenImageEditPipeline"),
        ({"pipeline": "Zzz"}, "has no such pipeline"),
        ({"height": 130}, r"editor\.height=130: must be a multiple of 16"),
        ({"width": 100}, r"editor\.width=100: must be a multiple of 16"),
        ({"call": {"image_guidance_scale": 1.5}}, "takes no 'image_guidance_scale'"),
    ],
)
def test_the_editor_refuses_what_its_pipeline_cannot_do(
    tiny_checkpoints: Path, changes: dict[str, Any], said: str
) -> None:
    settings = {"pipeline": "QwenImageEditPipeline", **GUIDED, **changes}
    with pytest.raises(UserError, match=said):
        DiffusersEditor("cpu", checkpoint=str(tiny_checkpoints / "qwen_image_edit"), **settings)


def test_the_editor_loads_in_the_dtype_asked_for(tiny_checkpoints: Path) -> None:
    pipe = load_editor(tiny_checkpoints, "QwenImageEditPipeline", dtype="bfloat16")._pipe
    parts = (pipe.transformer, pipe.text_encoder, pipe.vae)
    assert {parameter.dtype for part in parts for parameter in part.parameters()} == {torch.bfloat16}


def test_weights_of_nan_give_no_picture(tiny_checkpoints: Path) -> None:
    editor = load_editor(tiny_checkpoints, "QwenImageEditPipeline", true_cfg_scale=1.0)
    with torch.no_grad():
        next(editor._pipe.transformer.proj_out.parameters()).fill_(float("nan"))
    with pytest.raises(InvalidOutputError, match="NaN"):
        editor.edit(make_picture(1), "make it night", 0, no_step)


def test_a_picture_of_another_size_than_asked_for_is_refused(
    tiny_checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = load_editor(tiny_checkpoints, "QwenImageEditPipeline", true_cfg_scale=1.0)
    monkeypatch.setattr("editbench.editors.pipeline_call.to_image", lambda _: make_picture(1, (144, 128)))
    with pytest.raises(InvalidOutputError, match=r"returned \(144, 128\) pixels, asked for were \(128, 128\)"):
        editor.edit(make_picture(1), "make it night", 0, no_step)


@pytest.mark.parametrize(
    ("given", "source", "made"),
    [
        ({"height": 64, "width": None}, (96, 32), (192, 64)),
        ({"height": None, "width": 64}, (90, 300), (64, 208)),  # 213.3
        ({"height": None, "width": 32}, (300, 20), (32, 16)),  # 2.1, and 16 is the least
        ({"height": 64, "width": 32}, (96, 32), (32, 64)),
    ],
)
def test_of_a_size_given_by_half_the_other_follows_from_the_sources_shape(
    tiny_checkpoints: Path, given: dict[str, Any], source: tuple[int, int], made: tuple[int, int]
) -> None:
    editor = load_editor(tiny_checkpoints, "QwenImageEditPipeline", true_cfg_scale=1.0, **given)
    assert editor.edit(make_picture(1, source), "make it night", 0, no_step).size == made


def test_guidance_is_on_with_a_negative_prompt(tiny_checkpoints: Path) -> None:
    """A scale that is passed but not used would leave the picture as it is."""
    source = make_picture(1, (64, 64))

    def edit(scale: float) -> Image.Image:
        editor = load_editor(tiny_checkpoints, "QwenImageEditPipeline", true_cfg_scale=scale)
        return editor.edit(source, "turn the sky red", 0, no_step)

    assert edit(1.0).tobytes() != edit(4.0).tobytes()


# One judge on several devices


def test_a_judge_that_fits_two_devices_is_placed_on_these_alone(tiny_checkpoints: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_checkpoints / "qwen3_vl_moe")
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    model.tie_weights()
    size = compute_module_sizes(model)[""]
    largest = max(compute_module_sizes(model)[name] for name in ("model.visual", "lm_head"))
    room = size // 2 + largest
    placed = infer_auto_device_map(
        model, max_memory={2: room, 3: room}, no_split_module_classes=model._no_split_modules, dtype=torch.float32
    )
    assert set(placed.values()) == {2, 3}


def test_a_judge_too_large_for_its_devices_is_not_placed_on_them_alone(tiny_checkpoints: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_checkpoints / "qwen3_vl_moe")
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    room = compute_module_sizes(model)[""] // 4
    placed = infer_auto_device_map(
        model, max_memory={2: room, 3: room}, no_split_module_classes=model._no_split_modules, dtype=torch.float32
    )
    assert "disk" in placed.values()
