"""Settings that make edits faster: what is refused before anything is loaded, and how values fit annotations."""

import pytest

from editbench.components.check import check_components
from editbench.config.load import load
from editbench.errors import UserError

LORA = "editor.lora={path:a/b,weight_name:x.safetensors}"


def check(*overrides):
    config = load(["editor=qwen_image_edit", *overrides])
    check_components(config)
    return config.editor.kwargs


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["editor.dtype=float64"], "editor.dtype='float64': must be one of bfloat16, float16, float32"),
        (["editor.dtype=null"], "editor.dtype=None: must be one of bfloat16"),
        (["editor.compile=1"], "editor.compile=1: must be true or false"),
        (["editor.cache=first"], "editor.cache='first': must be first_block or null"),
        (["editor.cache=true"], "editor.cache=True: must be first_block"),
        (["+editor.cache_options.threshold=0.1"], "there is no cache; set editor.cache too"),
        (
            ["editor.cache=first_block", "+editor.cache_options.treshold=0.1"],
            "cache_options.treshold: there is no such",
        ),
        (["editor.cache=first_block", "+editor.cache_options.threshold=a"], "threshold='a': must be a number"),
        (["editor.attention_backend=flash_hub"], "code from the hub that nothing pins"),
        (["editor.attention_backend=[flash]"], "editor.attention_backend=['flash']: must be a text or null"),
        (["editor.scheduler=3"], "editor.scheduler=3: must be a mapping"),
        (["editor.offload=disk"], "editor.offload='disk': must be model or group or null"),
        (
            ["editor.quantization=int8"],
            "must be torchao_float8_dynamic or torchao_int8_weight_only or null",
        ),
        (["editor.lora=a/b"], "editor.lora='a/b': must be a mapping"),
        (["editor.lora={path:a/b}"], "editor.lora.weight_name is missing"),
        (["editor.lora={}"], "editor.lora.path is missing"),
        (
            ["editor.lora={path:a/b,weight_nam:x.safetensors}"],
            "editor.lora.weight_nam: there is no such key; there are",
        ),
        (["editor.lora={path:a/b,weight_name:[3]}"], "editor.lora.weight_name=[3]: must be a text"),
        (["editor.lora={path:a/b,weight_name:x.bin}"], "must end with .safetensors"),
        (
            [
                "editor=qwen_image_edit_4_steps",
                "+editor.lora.fuse=true",
                "editor.quantization=torchao_int8_weight_only",
            ],
            "editor.lora.fuse=true: cannot be added to weights of editor.quantization=torchao_int8_weight_only",
        ),
        (["editor.quantization=torchao_float8_dynamic", "editor.dtype=float16"], "needs editor.dtype=bfloat16, not"),
        (["editor=qwen_image_edit_4_steps", "editor.lora.scale=much"], "editor.lora.scale='much': must be a number"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_loaded(overrides, said):
    with pytest.raises(UserError) as raised:
        check(*overrides)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_settings_that_fit_pass():
    assert check("editor.cache=first_block", "+editor.cache_options.threshold=1")["cache"] == "first_block"
    assert check(LORA)["lora"] == {"path": "a/b", "weight_name": "x.safetensors"}
    assert check("editor.lora={path:a/b,weight_name:x.bin}", "editor.allow_pickle=true")["lora"]
    assert check("+editor.scheduler.shift_terminal=null")["scheduler"] == {"shift_terminal": None}


@pytest.mark.parametrize("steps", [4, 8])
def test_the_distilled_presets_have_few_steps_no_guidance_and_their_own_schedule(steps):
    kwargs = check(f"editor=qwen_image_edit_{steps}_steps")
    assert (kwargs["num_inference_steps"], kwargs["true_cfg_scale"], kwargs["negative_prompt"]) == (steps, 1.0, None)
    assert f"Lightning-{steps}steps" in kwargs["lora"]["weight_name"]
    assert kwargs["scheduler"]["shift_terminal"] is None
