"""The nano models' training: scenes and their truth, one step of every stage, and that a stopped stage goes on."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from nano import denoiser, flaws, judge, judge_training, outcomes, pictures, scenes, text_encoder, training, vae
from nano.scenes import FAMILIES, Scene, SceneEdit, SceneSampler
from nano.words import rubric

from editbench.analysis.truth import RIGHT
from editbench.judges.base import Request
from editbench.judges.chat_template import ChatTemplate


def sampler(seed=0, held_out=False):
    return SceneSampler(np.random.default_rng(seed), held_out)


def kind(shape, colour):
    return 1 + shape * len(scenes.COLOURS) + colour


def weights(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def run(folder, model, loss, steps):
    return training.Stage("stage", folder, model, training.Schedule(steps, warmup=1, log_every=1), loss)


def test_an_edit_changes_what_its_instruction_says_and_nothing_else():
    red_circle, blue_square = kind(0, 0), kind(1, 4)
    scene = Scene(0, (0, red_circle, 0, 0, *[0] * 8, blue_square, 0, 0, 0))
    edit = SceneEdit(scene, scene.replaced({1: 0, 13: red_circle}), FAMILIES.index("drop"), cell=1, to=13)
    assert edit.text("en", 0) == "Drop the red circle to the floor."
    assert edit.text("zh", 1) == "把红色圆形放到地面上。"
    assert scenes.floor_below(1) == 13 and scenes.floor_below(13) is None
    assert [scenes.extreme(scene, side) for side in range(4)] == [12, 1, 1, 12]
    assert scenes.describe(scene, "en") == "On grey: a red circle, a blue square."


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_combinations_are_kept_from_training(family):
    drawn = [sampler(seed, held_out=None).edit(family).held_out() for seed in range(300)]
    assert 0.04 < np.mean(drawn) < 0.25
    assert not any(sampler(seed).edit(family).held_out() for seed in range(50))
    assert all(sampler(seed, True).edit(family).held_out() for seed in range(50))


def test_a_picture_put_together_from_cells_is_the_scene_as_the_pipeline_shows_it():
    scene = sampler(3).scene(3)
    backgrounds, cells = np.array([scene.background]), np.array([scene.cells])
    whole = pictures.through_pipeline(pictures.draw(scene), pictures.SEEN, pictures.Image.Resampling.BOX).astype(int)
    apart = np.abs(pictures.assemble(pictures.cells_for_vae(), backgrounds, cells)[0] - whole)
    assert np.quantile(apart, 0.998) <= 2 and apart.max() <= 10  # what the filter clips beside bright edges


@pytest.mark.parametrize("placing", range(0, len(scenes.PLACINGS), 7))
def test_no_two_things_at_a_place_are_within_the_strict_bound(placing):
    things = [0, *(scenes.thing(kind, placing) for kind in range(1, scenes.KINDS))]
    for floor in (0, 1):
        looks = pictures.cells_for_vae()[:, things, floor].reshape(-1, 16 * 16 * 3).astype(float) / 255
        apart = np.sqrt(((looks[:, None] - looks[None]) ** 2).mean(-1)) + 9 * np.eye(len(looks))
        assert apart.min() > RIGHT


def test_what_a_cell_holds_is_a_kind_at_a_place():
    for placing in (0, 31, 74):
        green_triangle = scenes.thing(kind(2, 3), placing)
        assert (scenes.shape_of(green_triangle), scenes.colour_of(green_triangle)) == (2, 3)
        assert (scenes.kind_of(green_triangle), scenes.placing_of(green_triangle)) == (kind(2, 3), placing)
        assert scenes.coloured(green_triangle, 7) == scenes.thing(kind(2, 7), placing)
    assert scenes.thing(0, 5) == 0 and scenes.kind_of(0) == 0 and scenes.shape_of(0) == scenes.NONE
    assert scenes.thing(24, 74) == scenes.THINGS - 1


def test_held_out_places_and_sizes_are_kept_from_training():
    trained, held_out = scenes.placings(False), scenes.placings(True)
    assert sorted(trained + held_out) == scenes.placings(None) and len(held_out) == 15
    for asked, allowed in ((False, trained), (True, held_out)):
        found = {
            scenes.placing_of(one) for seed in range(40) for one in sampler(seed, asked).edit().source.cells if one
        }
        assert len(found) > 10 and found <= set(allowed)


def test_shapes_stay_in_their_cells():
    drawn = pictures.cells_drawn().astype(int)
    border = np.ones((32, 32), bool)
    border[1:-1, 1:-1] = False
    empty = drawn[:, :1]
    assert np.abs(drawn - empty)[..., border, :].max() < 40  # at most the shadow's end
    assert (np.abs(drawn[:, 1:] - empty).max(axis=(2, 3, 4, 5)) > 40).all()


def test_flaws_are_scored_from_0_to_10_and_cover_the_scale():
    drawn = flaws.draw(sampler(1), 400)
    assert drawn.scores.min() >= 0 and drawn.scores.max() <= 10
    assert (np.histogram(drawn.scores, 5, (0, 10.01))[0] > 5).all()


def test_the_vae_averages_going_in_and_repeats_going_out():
    torch.manual_seed(0)
    core = vae.Core(vae.build_vae())
    pixels = vae.pictures_of(np.random.default_rng(0), 1, 0.5)
    large = pixels.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        latents, decoded = core.encode(pixels), core.decode(core.encode(pixels)).clamp(-1, 1)
        whole = core.finished()
        assert torch.allclose(whole.encode(large[:, :, None]).latent_dist.mode()[:, :, 0], latents, atol=2e-3)
        out = whole.decode(latents[:, :, None]).sample[:, :, 0]
    assert out.shape == (1, 3, 1024, 1024)
    assert torch.allclose(out[:, :, 8::16, 8::16], decoded, atol=5e-3)
    assert torch.equal(out[:, :, ::16, ::16], out[:, :, 15::16, 15::16])


def test_a_step_of_the_vae(tmp_path):
    torch.manual_seed(0)
    core = vae.Core(vae.build_vae())

    def loss(step, rng, generator):
        return vae.reconstruction(core, vae.crops_of(rng, 4), generator)

    before = weights(core)
    found = run(tmp_path, core, loss, 1).step(0)
    assert 0 < found["rms"] < 1
    assert not torch.equal(before, weights(core))
    outer = core.vae.encoder.down_blocks[1].resample[1].weight
    assert torch.equal(outer[0, 0, :2, :2], torch.full((2, 2), 0.25))  # set by hand, not trained


def test_the_decoder_is_trained_on_the_denoisers_latents_and_the_encoder_stays_as_it_is(tmp_path):
    torch.manual_seed(0)
    core = vae.Core(vae.build_vae())
    own = torch.randn(20, vae.LATENT, 8, 8), torch.rand(20, 3, 64, 64) * 2 - 1
    encoder, decoder = (weights(part) for part in (core.vae.encoder, core.vae.decoder))
    vae.train_decoder(core, tmp_path, own, steps=2)
    assert torch.equal(encoder, weights(core.vae.encoder))
    assert not torch.equal(decoder, weights(core.vae.decoder))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return text_encoder.ProbedEncoder(text_encoder.editor_tokenizer())


def test_the_pipeline_drops_exactly_the_template_up_to_the_image(encoder):
    decoded = encoder.reader.tokenizer.decode(encoder.reader.prefix)
    assert decoded.endswith("<|im_start|>user\n")
    assert encoder.reader.start == encoder.reader.tokenizer.convert_tokens_to_ids("<|vision_start|>")


def test_several_instructions_in_a_row_are_read_as_each_alone(encoder):
    _, groups = text_encoder.draw_rows(encoder.reader, np.random.default_rng(0), 1)
    texts = ["Make the background pink.", "把红色圆形变成蓝色。", "Delete the red circle.", "Turn the background mint."]
    together = encoder.reader.rows(groups, [texts])
    with torch.no_grad():
        hidden = encoder(together)[0]
        for text, (begin, end) in zip(texts, together.spans[0], strict=True):
            alone = encoder.reader.rows([groups[0][:1]], [[text]])
            assert torch.allclose(encoder(alone)[0, 17:], hidden[begin:end], atol=1e-4)


def test_the_encoder_is_trained_as_the_pipeline_calls_it(encoder):
    """The library's own forward, with 3-D positions, gives the hidden states that training sees."""
    edit = sampler(5).edit("recolour")
    rows = encoder.reader.rows([[edit]], [[edit.text("en", 0)]])
    ids = torch.cat([encoder.reader.prefix, rows.tokens[0]])[None]
    patches = rows.patches.reshape(-1, 4, rows.patches.shape[1])[rows.looks[0]].flatten(0, 1)
    with torch.no_grad():
        expected = encoder.encoder(
            input_ids=ids,
            pixel_values=patches,
            image_grid_thw=torch.tensor([[1, 8, 8]]),
            mm_token_type_ids=(ids == encoder.reader.pad).long(),
            output_hidden_states=True,
        ).hidden_states[-1][0, text_encoder.PREFIX :]
        assert torch.allclose(encoder(rows)[0], expected, atol=1e-4)


def test_a_step_of_the_text_encoder(encoder, tmp_path):
    def loss(step, rng, generator):
        rows, _ = text_encoder.draw_rows(encoder.reader, rng, 2)
        return text_encoder.probe_loss(encoder.read(encoder(rows), rows), rows.labels), {}

    before = weights(encoder.encoder.model.visual)
    found = run(tmp_path, encoder, loss, 1).step(0)
    assert 5 < found["loss"] < 40
    assert not torch.equal(before, weights(encoder.encoder.model.visual))


def pairs(count):
    edits = [sampler(seed).edit() for seed in range(count)]
    latents = torch.randn(2, count, 16, denoiser.TOKEN, generator=torch.Generator().manual_seed(0))
    text = torch.randn(count, 30, text_encoder.HIDDEN, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(30) < torch.arange(20, 20 + count)[:, None]).float()
    return denoiser.Pairs(latents[0], latents[1], text * mask[..., None], mask, denoiser.target_labels(edits), edits)


def test_packed_latents_are_unpacked_again():
    latents = torch.randn(2, denoiser.LATENT, 8, 8)
    assert torch.equal(denoiser.unpack(denoiser.pack(latents)), latents)


def test_a_step_of_the_denoiser(tmp_path):
    torch.manual_seed(0)
    model, given = denoiser.ProbedDenoiser(), pairs(4)

    def loss(step, rng, generator):
        return denoiser.flow_loss(model, given, generator)

    before = weights(model.transformer)
    found = run(tmp_path, model, loss, 1).step(0)
    assert found["flow"] > 0.5
    assert not torch.equal(before, weights(model.transformer))


def test_errors_are_of_the_cell_that_is_wrong():
    edit = sampler(2).edit("recolour")
    edited = flaws.pixels_of([edit.source])
    wrong = denoiser.cell_errors(edited, [edit])[0] > 0.05
    assert wrong.nonzero()[0].tolist() == [edit.cell]


@pytest.fixture(scope="module")
def judging():
    torch.manual_seed(0)
    return judge_training.ProbedJudge()


@pytest.mark.parametrize("mode", judge.MODES)
def test_the_judge_is_asked_in_training_as_the_tool_asks(judging, mode):
    """Tokens and patches are those of the tool's template and processor."""
    edit = sampler(4).edit("move")
    text, description = edit.text("en", 0), scenes.describe(edit.source, "en")
    outcome = flaws.judged([edit], flaws.pixels_of([edit.target]))
    asked = judging.reader.rows(outcome, mode, [text], ["en"])
    user = rubric()["user_template_with_source"].format(original_description=description, edit_instruction=text)
    edited = pictures.Image.fromarray((255 * outcome.edited[0]).round().astype(np.uint8))
    shown = (pictures.draw(edit.source), edited.resize((1024, 1024), pictures.Image.Resampling.NEAREST))
    request = Request(0, judge.system_prompt(mode), user, shown, judge.ANSWER_START)
    processor = judging.reader.processor
    processor.image_processor.size = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    expected = processor(
        text=[ChatTemplate(processor, None, "last").prompt(request, processor)],
        images=[list(shown)],
        return_tensors="pt",
    )
    mine = torch.cat([asked.prefix, asked.tokens[0]])
    length = expected["input_ids"].shape[1]
    assert mine[:length].tolist() == expected["input_ids"][0].tolist()
    assert judging.reader.tokenizer.decode(mine[length:]) == judge.answer(10, mode)
    seen = expected["pixel_values"].reshape(-1, 3, 2, 16 * 16)[:, :, 0].reshape(128, -1)
    assert (asked.pixels - seen).abs().max() < 0.03  # the tool's picture has whole grey levels
    assert int(asked.tokens[0, asked.last[0]]) == judging.reader.tokenizer.encode(judge.ANSWER_START)[-1]


def test_the_answer_fits_the_form_that_the_rubric_asks_for():
    digits = [judge.answer(score, "expected") for score in (0.4, 3.6, 9.7, 10)]
    numbers = [judge.answer(score, "generate") for score in (0, 3.67, 10)]
    assert digits == [f"{digit}<|im_end|>" for digit in (0, 4, 9, 9)]
    assert numbers == [f"{number}<|im_end|>" for number in ("0.000", "3.600", "9.900")]


def test_the_judge_begins_by_looking_from_a_cell_to_the_same_cell_of_the_source(judging):
    _, asked = judge_training.draw_asked(judging.reader, sampler(6), 2, "expected")
    text = judging.judge.model.language_model
    attention = text.layers[judge.SAME_PLACE[0]].self_attn
    size = judge.HIDDEN // judge.HEADS
    cos, sin = text.rotary_emb(
        torch.zeros(1, 1, judge.HIDDEN), asked.positions[:, :1].gather(2, asked.images[None, :1].expand(3, -1, -1))
    )
    turned = [
        bias[:size] * cos[0] + torch.cat([-bias[size // 2 : size], bias[: size // 2]]) * sin[0]
        for bias in (attention.q_proj.bias.detach(), attention.k_proj.bias.detach())
    ]
    looks = turned[0][16:] @ turned[1].T  # (16 cells of the edited picture, all 32)
    assert looks[:, :16].argmax(dim=1).tolist() == list(range(16))


def test_outcomes_of_the_editor_are_mixed_with_synthetic_ones():
    own = flaws.draw(sampler(8), 30)
    drawn = outcomes.mixed(own)(sampler(9), 20)
    assert len(drawn.edits) == len(drawn.edited) == 20
    assert sum(edit in own.edits for edit in drawn.edits) == 20 * outcomes.OWN
    assert (flaws.judged(drawn.edits, drawn.edited).scores == drawn.scores).all()


@pytest.mark.parametrize("mode", judge.MODES)
def test_a_step_of_the_judge(judging, tmp_path, mode):
    def loss(step, rng, generator):
        drawn, asked = judge_training.draw_asked(judging.reader, SceneSampler(rng), 3, mode)
        return judge_training.judge_loss(judging, drawn, asked, mode)

    before = weights(judging.judge.model.visual)
    found = run(tmp_path, judging, loss, 1).step(0)
    assert found["said"] > 1
    assert not torch.equal(before, weights(judging.judge.model.visual))


def test_a_stage_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    def stage(folder):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)

        def loss(step, rng, generator):
            x = torch.tensor(rng.normal(size=(8, 3)), dtype=torch.float32)
            return (model(x) - x.sum(1, keepdim=True)).square().mean(), {}

        return run(folder, model, loss, 6)

    whole = stage(tmp_path / "whole")
    whole.run()
    stopped = stage(tmp_path / "stopped")
    for step in range(3):
        stopped.step(step)
    stopped.save(3)
    resumed = stage(tmp_path / "stopped")
    resumed.run()
    assert torch.equal(weights(whole.model), weights(resumed.model))
    assert torch.equal(weights(whole.averaged), weights(resumed.averaged))
