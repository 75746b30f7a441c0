"""The configuration: every shipped YAML composes, and every mistake is one sentence that names the key."""

import copy
from pathlib import Path

import pytest
from running import run_python

from editbench.components.check import check_components
from editbench.components.load import component_class
from editbench.config import load as configuration
from editbench.config.load import load, refuse_nano_by_default
from editbench.config.places import CHECKOUT, CONF_DIR
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.run.folder import RunDir
from editbench.verify import _wanted


def choices(group):
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


NOT_BY_ITSELF = {
    "judge_loop",
    "answer",
    "edit",
    "reasoned_edit",
    "scene_edit",
}  # what all judges have, what rubrics share
SETS = ["gedit", "general", "imgedit", "imgedit_multi", "kris", "rise", "scenes", "seed"]
RUBRICS = [choice for choice in choices("rubric") if choice not in {*NOT_BY_ITSELF, *SETS}]
PATH = ["dataset.path=x", "judge=tiny"]
NEEDED = {
    **dict.fromkeys([choice for choice in choices("dataset") if choice != "json_file"], PATH),
    "diffusers": ["editor.name=x", "editor.pipeline=QwenImageEditPipeline", "editor.checkpoint=a/b"],
    "openai": ["judge.model=m"],
    "images_edits": ["editor.model=x"],
    "pictures": ["editor.folder=."],
}


def sentence(*overrides, config_dir=None):
    with pytest.raises(UserError) as caught:
        load(list(overrides), config_dir)
    return str(caught.value)


# ---- every shipped file ----


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group in ("dataset", "editor", "judge")
        for choice in choices(group)
        if choice not in NOT_BY_ITSELF
    ],
)
def test_every_shipped_dataset_editor_and_judge_composes_and_fits_its_class(group, choice):
    config = load([f"{group}={choice}", *NEEDED.get(choice, [])])
    check_components(config)
    settings = getattr(config, group)
    assert settings.target.startswith(f"editbench.{group}s.")
    assert group == "dataset" or choice in NEEDED or settings.name == choice


@pytest.mark.parametrize(
    ("choice", "rubrics"),
    [
        ("json_file", "seed"),
        ("jsonl", "seed"),
        ("folder", "general"),
        ("parquet", "general"),
        ("gedit", "gedit"),
        ("imgedit", "imgedit"),
        ("imgedit_uge", "imgedit"),
        ("imgedit_multi", "imgedit_multi"),
        ("rise", "rise"),
        ("kris", "kris"),
    ],
)
def test_a_dataset_brings_its_rubrics_unless_others_are_chosen(choice, rubrics):
    chosen = [f"dataset={choice}", *PATH]
    assert load(chosen).rubrics == load([*PATH, f"rubric={rubrics}"]).rubrics
    assert list(load([*chosen, "rubric=general"]).rubrics) == ["general"]
    assert list(load([*chosen, "+rubric@rubrics.mine=causal"]).rubrics)[-1] == "mine"


@pytest.mark.parametrize("choice", choices("tracker"))
def test_every_shipped_tracker_composes_and_fits_its_class(choice):
    config = load([f"tracker={choice}", "run_name=mine"])
    check_components(config)
    assert config.tracker.name == choice
    assert config.tracker.kwargs.get("folder", f"runs/mine/{choice}") == f"runs/mine/{choice}"


@pytest.mark.parametrize("choice", choices("experiment"))
def test_every_shipped_experiment_composes(choice):
    check_components(load([f"experiment={choice}", "dataset.path=bench.json"]))


def test_every_shipped_rubric_is_part_of_a_run_and_composes_under_another_name():
    again = [f"+rubric@rubrics.another_{choice}={choice}" for choice in RUBRICS]
    rubrics = load(["dataset=json_file", *again]).rubrics
    assert len(rubrics) == 2 * len(RUBRICS)
    for choice in RUBRICS:
        assert rubrics[choice] == rubrics[f"another_{choice}"]
        assert rubrics[choice].names[0] == choice


def test_no_shipped_file_is_left_out_by_these_tests():
    assert {path.name for path in CONF_DIR.iterdir() if path.is_dir()} == {
        "dataset",
        "editor",
        "judge",
        "metric",
        "protocol",
        "experiment",
        "rubric",
        "tracker",
    }
    assert choices("experiment")


def test_the_default_run_is_the_scenes_with_the_nano_models():
    config = load([])
    assert (config.run_name, config.run_dir) == ("scenes-nano", Path("runs/scenes-nano"))
    assert (config.editor.name, config.judge.name) == ("nano", "nano")
    assert config.dataset.kwargs["path"] == str(CHECKOUT / "data" / "scenes" / "scenes.json")
    assert config.metric is not None and set(config.rubrics) == {"environmental", "physical", "referential"}
    assert (config.edit.sync_every, config.seed, config.on_change, config.dry_run) == (1, 42, "stop", False)


def test_a_path_alone_is_that_of_a_benchmark_file_and_not_another_place_of_the_scenes():
    config = load(["dataset.path=bench.json"])
    assert config.metric is None and "social" in config.rubrics
    assert config.dataset.kwargs["path"] == "bench.json"
    assert load(["dataset.path=bench.json", "dataset=scenes"]).metric is not None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["dataset.path=bench.json"],
            "dataset.path=bench.json: the default editor, nano, knows nothing but the scenes",
        ),
        (["dataset.path=bench.json", "editor=fake"], "the default judge, nano, .* give judge=…"),
        (["dataset=gedit", "dataset.path=x", "judge=tiny"], "the default editor"),
    ],
)
def test_own_data_are_not_edited_or_judged_by_models_that_nobody_chose(overrides, said):
    with pytest.raises(UserError, match=said):
        refuse_nano_by_default(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["dataset=scenes"],
        ["dataset.path=bench.json", "editor=fake", "judge=tiny"],
        ["dataset.path=my_scenes.json", "editor=nano", "judge=nano"],
        ["dataset.path=bench.json", "experiment=full_270"],
    ],
)
def test_chosen_models_and_the_scenes_are_taken(overrides):
    refuse_nano_by_default(overrides)


def test_run_name_follows_dataset_and_editor_and_run_dir_follows_run_name():
    assert load(["editor=fake", "dataset.path=/data/bench.v2.json"]).run_dir == Path("runs/bench.v2-fake")
    assert load(["run_name=mine"]).run_dir == Path("runs/mine")
    assert load(["run_dir='~/mine'"]).run_dir == Path.home() / "mine"


# ---- production settings ----


@pytest.mark.parametrize(
    ("choice", "pipeline", "checkpoint", "steps"),
    [
        ("qwen_image_edit", "QwenImageEditPipeline", "Qwen/Qwen-Image-Edit", 50),
        ("qwen_image_edit_2509", "QwenImageEditPlusPipeline", "Qwen/Qwen-Image-Edit-2509", 40),
        ("qwen_image_edit_2511", "QwenImageEditPlusPipeline", "Qwen/Qwen-Image-Edit-2511", 40),
    ],
)
def test_production_editors(choice, pipeline, checkpoint, steps):
    kwargs = load([f"editor={choice}"]).editor.kwargs
    assert (kwargs["pipeline"], kwargs["checkpoint"], kwargs["num_inference_steps"]) == (pipeline, checkpoint, steps)
    assert (kwargs["true_cfg_scale"], kwargs["negative_prompt"], kwargs["dtype"]) == (4.0, " ", "bfloat16")
    assert (kwargs["height"], kwargs["width"]) == (None, None)


@pytest.mark.parametrize(
    ("choice", "checkpoint"),
    [("qwen3_vl", "Qwen/Qwen3-VL-30B-A3B-Instruct"), ("qwen3_vl_8b", "Qwen/Qwen3-VL-8B-Instruct")],
)
def test_production_judges(choice, checkpoint):
    judge = load([f"judge={choice}"]).judge
    assert (judge.kwargs["checkpoint"], judge.kwargs["dtype"], judge.kwargs["max_new_tokens"]) == (
        checkpoint,
        "bfloat16",
        128,
    )
    assert (judge.batch_size, judge.devices_per_replica, judge.compare_with_original) == ("auto", "auto", False)


def test_the_full_benchmark_uses_production_editor_and_judge():
    config = load(["experiment=full_270", "dataset.path=bench.json"])
    assert (config.editor.name, config.judge.name) == ("qwen_image_edit_2511", "qwen3_vl")
    assert load(["experiment=full_270", "editor=fake"]).editor.name == "fake"


def test_what_feeds_the_judge_is_apart_from_what_constructs_it():
    judge = load(["judge=fake", "judge.batch_size=3", "judge.complete_replies=false", "judge.replies=[a,[b,c]]"]).judge
    assert (judge.batch_size, judge.complete_replies) == (3, False)
    assert judge.kwargs == {"replies": ["a", ["b", "c"]], "latency_s": 0.0, "temperature": 0.0}


def test_labels_are_the_digits_or_what_is_given_in_their_place():
    assert load([]).judge.labels == {str(digit): digit for digit in range(10)}
    judge = load(["judge.mode=expected", "judge.labels={A:10,B:5,C:0}", "judge.min_label_mass=1"]).judge
    assert (judge.mode, judge.labels, judge.min_label_mass) == ("expected", {"A": 10, "B": 5, "C": 0}, 1)


OWN_RUBRIC = (
    "names: [mine]\ntitle: T\nsystem_prompt: Be kind.\n"
    "user_template: '{edit_instruction}'\nuser_template_with_source: '{edit_instruction}'\n"
)


@pytest.mark.parametrize("mode", ["generate", "expected"])
def test_a_rubric_of_ones_own_asks_in_its_own_words_or_in_the_shared_ones(tmp_path, mode):
    (tmp_path / "rubric").mkdir()
    file = tmp_path / "rubric" / "mine.yaml"
    overrides = ["+rubric@rubrics.mine=mine", f"judge.mode={mode}"]
    file.write_text("defaults: [answer, _self_]\n" + OWN_RUBRIC)
    prompt = load(overrides, str(tmp_path)).rubrics["mine"].system_prompt
    assert prompt.startswith("Be kind.\n\nAnswer with one line")
    assert ("<digit>" in prompt) == (mode == "expected")
    file.write_text(OWN_RUBRIC)
    if mode == "generate":
        assert load(overrides, str(tmp_path)).rubrics["mine"].system_prompt == "Be kind."
    else:
        assert "rubrics.mine.answer_label is empty" in sentence(*overrides, config_dir=str(tmp_path))


@pytest.mark.parametrize(("mode", "missing"), [("generate", "reply"), ("expected", "check_labels")])
def test_a_judge_that_cannot_judge_in_a_mode_is_refused_before_it_is_loaded(monkeypatch, mode, missing):
    monkeypatch.delattr(f"editbench.judges.fake.FakeJudge.{missing}")
    with pytest.raises(UserError, match=f"judge.mode={mode}: .*FakeJudge has no method '{missing}'"):
        check_components(load(["editor=fake", "judge=fake", f"judge.mode={mode}"]))


# ---- mistakes ----

MISTAKES = [
    # mistyped keys
    (["edit.sync_evry=2"], "'edit.sync_evry'", "did you mean 'edit.sync_every'?"),
    (["sede=1"], "'sede'", "did you mean 'seed'?"),
    (["editr=fake"], "'editr'", "did you mean 'editor'?"),
    (["dataset.pth=x"], "'dataset.pth'", "did you mean 'dataset.path'?"),
    (["editor.num_inference_step=5"], "'editor.num_inference_step'", "did you mean 'editor.num_inference_steps'?"),
    (["editor=fake", "editor.latenci_s=3"], "'editor.latenci_s'", "did you mean 'editor.latency_s'?"),
    (["judge=fake", "judge.replys=[]"], "'judge.replys'", "did you mean 'judge.replies'?"),
    (["rubrics.physical.titel=x"], "'rubrics.physical.titel'", "did you mean 'rubrics.physical.title'?"),
    (["zzzz=1"], "'zzzz'", "conf/config.yaml and the chosen YAMLs list the keys"),
    # wrong types
    (["seed=abc"], "seed='abc'", "must be a whole number"),
    (["seed=1.5"], "seed=1.5", "must be a whole number"),
    (["seed=true"], "seed=True", "must be a whole number"),
    (["max_failed=lots"], "max_failed='lots'", "a fraction from 0 to 1"),
    (["dry_run=perhaps"], "dry_run='perhaps'", "true or false"),
    (["distributed.cpu_threads=x"], "distributed.cpu_threads='x'", "a whole number from 1"),
    (["edit=5"], "edit=5", "a group of settings: schedule, sync_every"),
    (["run_name=[a]"], "run_name=['a']", "letters, digits"),
    (["rubrics.physical.names=abc"], "rubrics.physical.names='abc'", "a list, each item a text"),
    (["rubrics.physical.names=[[a]]"], "rubrics.physical.names=[['a']]", "a list, each item a text"),
    (["editor=null"], "editor=null", "a run needs its editor; give editor= and one of diffusers, fake"),
    (["judge="], "judge=", "a run needs its judge; give judge= and one of fake, judge_loop"),
    (["~editor"], "~editor", "a run needs its editor; give editor= and one of diffusers, fake"),
    (["~dataset=json_file"], "~dataset=json_file", "a run needs its dataset; give dataset= and one of folder, gedit"),
    # what Hydra takes, and what would have no effect
    (["hydra.run.dir=x"], "hydra.run.dir=x", "have no effect here; remove it"),
    (["++hydra.verbose=true"], "++hydra.verbose=true", "have no effect here; remove it"),
    (["run_dir=null"], "run_dir=None", "must be a folder"),
    (["source.formats=[XYZ]"], "source.formats=['XYZ']", "formats that Pillow reads, such as 'source.formats=[PNG]'"),
    (["source.formats=[]"], "source.formats=[]", "formats that Pillow reads"),
    # unknown choices
    (["editor=fak"], "editor=fak", "choose one of diffusers, fake, flux2"),
    (["judge=gpt"], "judge=gpt", "choose one of fake, judge_loop, nano, openai, qwen3_vl"),
    (["dataset=json"], "dataset=json", "choose one of folder, gedit"),
    (["editor=Qwen/Qwen-Image-Edit"], "editor=Qwen/Qwen-Image-Edit", "choose one of diffusers, fake, flux2"),
    (["editor=Qwen/Qwen-Image-Edit"], "editor=Qwen/Qwen-Image-Edit", "editor.checkpoint=Qwen/Qwen-Image-Edit"),
    (["judge=/data/my_judge"], "judge=/data/my_judge", "judge.checkpoint=/data/my_judge"),
    (["experiment=nope"], "experiment=nope", "choose one of full_270"),
    (["rubric@rubrics.physical=nope"], "rubric=nope", "choose one of answer, causal, edit, environmental"),
    (["+rubric@rubrics.mine=nope"], "rubric=nope", "choose one of answer, causal, edit, environmental"),
    # missing values
    (["editor=diffusers"], "editor.name", "give it as editor.name=…"),
    (["editor=diffusers", "editor.name=x"], "editor.pipeline", "give it as editor.pipeline=…"),
    (["editor=diffusers", "editor.name=x", "editor.pipeline=P"], "editor.checkpoint", "give it as editor.checkpoint=…"),
    (["run_name=${nope}"], "nope", "give it as nope=…"),
    (["run_name=${oc.env:EDITBENCH_NOT_SET}"], "run_name:", "'EDITBENCH_NOT_SET' not found"),
    (["~seed"], "seed", "cannot be removed"),
    (["judge=judge_loop"], "judge:", "no _target_"),
    (["judge.mode=generated"], "judge.mode='generated'", "generate or expected"),
    (["judge.labels={A:10}"], "judge.labels={'A': 10}", "two labels and more"),
    (["judge.labels={A:10,B:11}"], "judge.labels=", "from 0 to 10"),
    (["judge.min_label_mass=0"], "judge.min_label_mass=0", "more than 0, at most 1"),
    # no override at all
    (["foo"], "foo", "key=value"),
    (["a=b=c"], "a=b=c", "key=value"),
    (["categories=[物理]"], "categories=[物理]", "needs quotes of its own"),
]


@pytest.mark.parametrize(("overrides", "key", "hint"), MISTAKES, ids=[" ".join(o) for o, _, _ in MISTAKES])
def test_a_mistake_is_one_sentence_with_the_key_and_what_to_do(overrides, key, hint):
    message = sentence(*overrides)
    assert key in message
    assert hint in message
    assert "\n" not in message
    assert "Traceback" not in message


OUT_OF_RANGE = [
    ("judge.compare_with_original", "perhaps", "true or false"),
    ("judge.complete_replies", "x", "true or false"),
    ("limit", "x", "a whole number from 1 or null"),
    ("limit", True, "a whole number from 1 or null"),
    ("categories", "physical", "a list"),
    ("device_ids", 0, "a list"),
    ("limit", 0, "a whole number from 1 or null"),
    ("max_failed", 2.0, "a fraction from 0 to 1"),
    ("max_failed", -0.1, "a fraction from 0 to 1"),
    ("max_failed", float("nan"), "a fraction from 0 to 1"),
    ("on_change", "maybe", "stop or redo"),
    ("log_level", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
    ("categories", [], "a list"),
    ("device_ids", [0, 0], "different numbers from 0"),
    ("device_ids", [-1], "different numbers from 0"),
    ("device_ids", ["a"], "different numbers from 0"),
    ("edit.sync_every", -1, "a whole number from 0"),
    ("edit.shard_size_mib", 0, "a whole number from 1"),
    ("edit.max_concurrent_loads", 0, "a whole number from 1"),
    ("edit.max_concurrent_loads", True, "a whole number from 1"),
    ("distributed.timeout_s", 0, "a whole number from 1"),
    ("judge.batch_size", 0, "auto or a whole number from 1"),
    ("judge.batch_size", "big", "auto or a whole number from 1"),
    ("judge.devices_per_replica", 0, "auto or a whole number from 1"),
    ("judge.max_concurrent_loads", -2, "a whole number from 1"),
    ("run_name", "a/b", "letters, digits"),
    ("run_name", "..", "letters, digits"),
    ("run_name", "a b", "letters, digits"),
    ("judge.name", "../x", "letters, digits"),
]


@pytest.fixture(scope="module")
def resolved():
    return load([]).resolved


@pytest.mark.parametrize(("key", "value", "wanted"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named_with_what_was_found_and_what_is_wanted(resolved, key, value, wanted):
    changed = copy.deepcopy(resolved)
    node = changed
    *groups, last = key.split(".")
    for group in groups:
        node = node[group]
    node[last] = value
    with pytest.raises(UserError) as caught:
        configuration.check(changed)
    assert str(caught.value).startswith(f"{key}={value!r}: must be ")
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["editor.true_cfg_scale=1", "editor.negative_prompt=null"],
        ["editor.true_cfg_scale=null", "editor.negative_prompt=null"],
        ["editor.negative_prompt=''"],
        ["editor=fake"],
    ],
)
def test_guidance_that_is_off_on_purpose_is_no_mistake(overrides):
    check_components(load([*overrides, "dataset.path=x"]))


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("limit=5", "limit", 5),
        ("device_ids=[3,1]", "device_ids", [3, 1]),
        ("categories=['物理',social]", "categories", ["物理", "social"]),
        ("max_failed=0", "max_failed", 0.0),
        ("max_failed=1", "max_failed", 1.0),
        ("run_name=a.b-c_1", "run_name", "a.b-c_1"),
        ("run_name='基准'", "run_name", "基准"),
        ("on_change=redo", "on_change", "redo"),
    ],
)
def test_good_values_arrive(override, key, value):
    assert getattr(load([override]), key) == value


LOOKS_LIKE_A_NUMBER = ["2026_11_25", "7e81234", "1e99999", "1.50", "-0", "007", "nan", "true", "null", "No"]


@pytest.mark.parametrize("text", LOOKS_LIKE_A_NUMBER)
def test_a_text_setting_keeps_its_text(text):
    config = load([f"run_name={text}", f"++editor.name={text}", f"rubrics.physical.answer_label={text}"])
    assert (config.run_name, config.editor.name, str(config.run_dir)) == (text, text, f"runs/{text}")
    assert config.rubrics["physical"].answer_label == text
    kwargs = load([f"editor.checkpoint={text}", f"judge.checkpoint={text}", f"dataset.path={text}"]).editor.kwargs
    assert kwargs["checkpoint"] == text
    lora = ["editor=qwen_image_edit_4_steps", f"editor.lora.path={text}", f"editor.lora.weight_name={text}"]
    assert [*load(lora).editor.kwargs["lora"].values()][:2] == [text, text]
    assert load([f"editor.revision={text}"]).editor.kwargs["revision"] == (None if text == "null" else text)


@pytest.mark.parametrize("text", [*LOOKS_LIKE_A_NUMBER, "2026_11", "1e3", "'quoted 1'"])
def test_a_text_within_a_list_or_mapping_keeps_it_too(text):
    plain = text.strip("'")
    assert load([f"categories=[{text}, physical]"]).categories == [plain, "physical"]
    assert load([f"rubrics.physical.names=[{text}]"]).rubrics["physical"].names == [plain]
    lora = load([f"+editor.lora={{path: {text}, weight_name: {text}, scale: 1e1}}"]).editor.kwargs["lora"]
    assert lora == {"path": plain, "weight_name": plain, "scale": 10.0}


@pytest.mark.parametrize("labels", ["{01:0,02:5}", "{1_0:0,10:5}", "{1e1:0,true:5}", "{No:0,Yes:5}", "{0:1,1:2}"])
def test_labels_are_texts(labels):
    wanted = [pair.partition(":") for pair in labels.strip("{}").split(",")]
    found = load([f"judge.labels={labels}"]).judge.labels
    assert list(found.items()) == [(name, float(score)) for name, _, score in wanted]


def test_numbers_within_lists_stay_numbers():
    assert load(["device_ids=[1,0]"]).device_ids == [1, 0]


def test_numbers_stay_numbers():
    config = load(["seed=1_000", "max_failed=1e-1", "editor.num_inference_steps=2_0", "+editor.call.scale=1.50"])
    assert (config.seed, config.max_failed) == (1000, 0.1)
    assert (config.editor.kwargs["num_inference_steps"], config.editor.kwargs["call"]) == (20, {"scale": 1.5})
    assert load(["editor=fake", "editor.latency_s=1"]).editor.kwargs["latency_s"] == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run_name: 7e81234", "run_name=inf: must be letters, digits"),
        ("editor: {revision: 1.50}", "editor.revision=1.5: must be a text or null"),
        ("edit: {sync_evry: 2}", "there is no key 'edit.sync_evry', did you mean 'edit.sync_every'?"),
    ],
)
def test_a_yaml_whose_text_is_read_as_a_number_is_refused(tmp_path, line, says):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{line}\n")
    with pytest.raises(UserError) as caught:
        check_components(load(["experiment=mine"], str(tmp_path)))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["edit"].update(turbo=1), "there is no key 'edit.turbo'"),
        (lambda c: c.update(sources=1), "there is no key 'sources', did you mean 'source'?"),
        (lambda c: c.pop("on_change"), "on_change has no value"),
        (lambda c: c["rubrics"]["physical"].pop("title"), "rubrics.physical.title has no value"),
        (lambda c: c.update(distributed=None), "distributed=None: must be a group of settings"),
    ],
)
def test_a_configuration_of_another_version_is_told_by_its_first_difference(resolved, change, says):
    changed = copy.deepcopy(resolved)
    change(changed)
    with pytest.raises(UserError) as caught:
        configuration.check(changed)
    assert says in str(caught.value)


def test_verify_names_the_file_of_another_version(resolved, tmp_path):
    run_dir = RunDir(tmp_path)
    run_dir.write_config({**resolved, "edit": resolved["edit"] | {"turbo": 1}})
    with pytest.raises(UserError, match=r"config\.yaml does not fit this version of editbench: there is no key"):
        _wanted(run_dir)


@pytest.mark.parametrize(("group", "judge", "file"), [("editor", None, "config.yaml"), ("judge", "fake", "fake.yaml")])
def test_verify_tells_arguments_of_another_version_apart_from_other_settings(tmp_path, group, judge, file):
    resolved = load(["editor=fake", "judge=fake"]).resolved
    run_dir = RunDir(tmp_path)
    run_dir.create()
    run_dir.write_config({**resolved, group: resolved[group] | {"turbo": 1}}, judge)
    with pytest.raises(UserError, match=rf"{file} does not fit this version of editbench: {group}: .*'turbo'"):
        _wanted(run_dir, judge)
    run_dir.write_config({**resolved, group: resolved[group] | {"_target_": "not.here.Editor", "turbo": 1}}, judge)
    assert _wanted(run_dir, judge)  # a class of the user's own, on another machine: nothing is known of its arguments


def test_what_only_a_checkout_has_is_asked_for_where_there_is_none(monkeypatch):
    monkeypatch.setattr("editbench.config.places.CHECKOUT", None)
    config = load(["editor=fake", "judge=fake"])
    assert config.run_name == "scenes-fake"
    with pytest.raises(
        UserError, match=r"dataset.path: data/scenes/scenes.json is in a checkout .* give dataset.path=…"
    ):
        check_components(config)


def test_the_resolved_configuration_is_plain_data_without_references():
    resolved = load(["run_name=mine"]).resolved
    assert resolved["run_dir"] == "runs/mine"
    assert "${" not in str(resolved)
    assert type(resolved["editor"]) is dict


def test_loading_is_the_same_twice_in_one_process():
    assert load(["editor=fake", "seed=3"]) == load(["editor=fake", "seed=3"])
    sentence("sede=1")
    assert load([]).seed == 42


# ---- components ----


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["+editor.foo=1"], "editor: editbench.editors.diffusers_pipeline.DiffusersEditor: got an unexpected keyword"),
        (["editor=fake", "+editor.latency=1"], "'latency'; it takes latency_s, fail_every"),
        (["+judge.top_k=1"], "judge: editbench.judges.qwen3_vl.Qwen3VLJudge: got an unexpected keyword"),
        (["+dataset.delimiter=x"], "'delimiter'; it takes path, language, on_bad_record"),
        (
            ["~dataset.path", "run_name=x"],
            "dataset: editbench.datasets.json_file.JsonFile: missing a required argument: 'path'",
        ),
        (["+editor.device=cpu"], "editor: "),
        (["editor.num_inference_steps=0"], "editor.num_inference_steps=0: must be a whole number from 1"),
        (["editor._target_=nope.Editor"], "editor._target_=nope.Editor: there is no such class; give the import path"),
        (["judge._target_=editbench.judges.fake.Nope"], "judge._target_=editbench.judges.fake.Nope: there is no such"),
        (["editor._target_=editbench.images.decode_rgb"], "editbench.images.decode_rgb: is a function, not a class"),
        # guidance that would be off without a word
        (["editor=qwen_image_edit", "editor.negative_prompt=null"], "editor.true_cfg_scale=4.0 has no effect without"),
        (["dataset.language=de"], "dataset.language='de': must be en or zh"),
        (["dataset.on_bad_record=ignore"], "dataset.on_bad_record='ignore': must be stop or skip"),
        (["editor=qwen_image_edit", "editor.height=0"], "editor.height=0: must be a multiple of 16"),
        (["editor=qwen_image_edit", "editor.height=7"], "editor.height=7: must be a multiple of 16"),
        (["editor=qwen_image_edit", "editor.width=-16"], "editor.width=-16: must be a multiple of 16"),
    ],
)
def test_a_component_that_does_not_fit_its_class_is_named(overrides, says):
    config = load(overrides)
    with pytest.raises(UserError) as caught:
        check_components(config)
    assert says in str(caught.value)


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """A user's own editor: one file of code, one YAML."""
    code = "class InvertEditor:\n    def __init__(self, device, strength=1.0, checkpoint=None):\n        pass\n"
    (tmp_path / "my_editor_for_tests.py").write_text(code)
    conf = tmp_path / "我的, conf [1]"
    (conf / "editor").mkdir(parents=True)
    (conf / "editor" / "invert.yaml").write_text(
        "_target_: my_editor_for_tests.InvertEditor\nname: invert\nstrength: 0.5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return conf


def test_a_users_own_class_in_a_config_dir_works(users_folder):
    config = load(["editor=invert", "editor.strength=0.7"], str(users_folder))
    check_components(config)
    assert config.editor == ComponentConfig("my_editor_for_tests.InvertEditor", "invert", {"strength": 0.7})
    assert component_class(config.editor, "editor").__name__ == "InvertEditor"
    assert config.run_name == "scenes-invert"


def test_a_users_wrong_argument_is_found_before_anything_is_loaded(users_folder):
    config = load(["editor=invert", "+editor.strenght=0.7"], str(users_folder))
    with pytest.raises(UserError, match=r"'strenght'; it takes strength, checkpoint$"):
        check_components(config)


def test_a_users_mistyped_key_is_suggested_from_the_users_yaml(users_folder):
    assert "did you mean 'editor.strength'?" in sentence(
        "editor=invert", "editor.strenght=1", config_dir=str(users_folder)
    )


def test_a_users_component_without_a_name_is_told_what_it_lacks(users_folder):
    (users_folder / "editor" / "bare.yaml").write_text("_target_: my_editor_for_tests.InvertEditor\n")
    assert sentence("editor=bare", config_dir=str(users_folder)).startswith("editor.name has no value")


def test_a_class_whose_file_cannot_be_imported_says_why(users_folder):
    (users_folder.parent / "broken_editor_for_tests.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(UserError, match="No module named 'a_package_that_is_not_there'"):
        component_class(ComponentConfig("broken_editor_for_tests.Editor", "x", {}), "editor")


def test_a_config_dir_that_is_not_there_is_named(tmp_path):
    message = sentence("editor=fake", config_dir=str(tmp_path / "nope"))
    assert f"--config-dir {tmp_path / 'nope'}: there is no such folder" in message


def test_the_working_folder_does_not_matter(tmp_path, monkeypatch):
    expected = load([]).resolved
    monkeypatch.chdir(tmp_path)
    assert load([]).resolved == expected


def test_checking_the_default_components_imports_no_model_library():
    code = (
        "import sys; from editbench.components.check import check_components; from editbench.config.load import load; "
        "check_components(load([]));"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'accelerate') if m in sys.modules])"
    )
    assert run_python(["-c", code], CHECKOUT).output == "[]\n"
