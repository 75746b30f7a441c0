"""Secrets of a user's own classes, and of the environment: used, but on no record and in no message."""

import json
import re
from pathlib import Path

import pytest
from benchmark_file import write_benchmark
from running import Outcome, run_python

from editbench.components.check import check_components
from editbench.components.load import open_dataset
from editbench.config.load import load
from editbench.config.schema import Config
from editbench.errors import UserError
from editbench.plan import planned_dataset
from editbench.run.folder import RunDir
from editbench.run.identity import component_identity
from editbench.text import redact, restore

SECRETS = {
    name: f"s3cret-{name}-0123456789"
    for name in (
        "dataset",
        "dataset-nested",
        "editor",
        "editor-nested",
        "editor-number",
        "judge",
        "judge-nested",
        "env",
    )
}
NUMBER = 8_675_309_424_242
CODE = """
import os
import time
from pathlib import Path

from editbench.datasets.json_file import JsonFile
from editbench.editors.fake import FakeEditor
from editbench.judges.fake import FakeJudge


class PrivateFile(JsonFile):
    def __init__(self, path, language, on_bad_record, images, access_token, headers):
        super().__init__(path, language, on_bad_record, images)
        assert access_token == "s3cret-dataset-0123456789", "another token came"
        assert headers == {"Accept": "x", "Authorization": "s3cret-dataset-nested-0123456789"}, "other headers came"


class PrivateEditor(FakeEditor):
    def __init__(self, device, hf_token, password, call, max_new_tokens):
        super().__init__(device)
        assert hf_token == "s3cret-editor-0123456789" and password == 8675309424242 and max_new_tokens == 64
        assert call["api_key"] == "s3cret-editor-nested-0123456789"
        assert os.environ["HF_TOKEN"] == "s3cret-env-0123456789"
        self._call = {"call": call, "hf_token": hf_token, "max_new_tokens": max_new_tokens}

    def describe(self):
        return {**super().describe(), **self._call}


class LeakingEditor(PrivateEditor):
    def edit(self, source, instruction, seed, on_step):
        if not Path("leaked").exists():
            Path("leaked").touch()
            raise ValueError(f"403 for {self._call['hf_token']}")
        while not Path("leak/edits/index.jsonl").read_bytes():  # what came before is written behind this edit
            time.sleep(0.01)
        raise SystemExit(f"{os.environ['HF_TOKEN']} and {self._call['call']} are refused")


class PrivateJudge(FakeJudge):
    def __init__(self, devices, api_key: str, credentials):
        super().__init__(devices)
        assert api_key == "s3cret-judge-0123456789"
        assert credentials == {"user": "me", "pairs": ["s3cret-judge-nested-0123456789"]}
"""
YAMLS = {
    "dataset": """
defaults: [json_file, _self_]
_target_: private_code.PrivateFile
access_token: s3cret-dataset-0123456789
headers: {Accept: x, Authorization: s3cret-dataset-nested-0123456789}
""",
    "editor": """
_target_: private_code.PrivateEditor
name: private
hf_token: s3cret-editor-0123456789
password: 8675309424242
call: {api_key: s3cret-editor-nested-0123456789, steps: 3}
max_new_tokens: 64
""",
    "judge": """
defaults: [judge_loop, _self_]
_target_: private_code.PrivateJudge
name: private
api_key: s3cret-judge-0123456789
credentials: {user: me, pairs: [s3cret-judge-nested-0123456789]}
compare_with_original: true
""",
}
PRIVATE = ["dataset=private", "editor=private", "judge=private", "dataset.path=bench.json", "run_dir=run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: classes that check what they are given, and YAMLs that hold secrets."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "private_code.py").write_text(CODE)
    for group, text in YAMLS.items():
        path = folder / "conf" / group / "private.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    write_benchmark(folder / "bench.json", ["物理", "环境", "社会"])
    return folder


@pytest.fixture
def private(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be used inside this process."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    return folder


def configured(folder: Path, *overrides: str) -> Config:
    return load([*PRIVATE, *overrides], str(folder / "conf"))


def command(folder: Path, name: str, *overrides: str) -> Outcome:
    arguments = ["-m", f"editbench.{name}", "--config-dir", "conf", *PRIVATE, "log_level=DEBUG", *overrides]
    return run_python(arguments, folder, HF_TOKEN=SECRETS["env"], OPENAI_API_KEY=SECRETS["env"])


def test_a_whole_run_uses_them_and_shows_none(folder: Path) -> None:
    printed = ""
    for name in ("plan", "edit", "score", "report"):
        outcome = command(folder, name)
        assert outcome.code == 0, outcome.tail
        printed += outcome.output
    again = command(folder, "edit")
    assert "nothing is left to edit" in again.output, again.tail
    intact = command(folder, "verify")
    assert "nothing is missing, damaged, stale or extra" in intact.output, intact.tail
    other = command(folder, "edit", "editor.hf_token=s3cret-another-0123456789")
    assert re.search(r"editor\.hf_token: '<redacted \w+>' -> '<redacted \w+>'", other.output), other.tail
    changed = command(folder, "edit", "editor.call.steps=4")
    assert "editor.call.steps: 3 -> 4" in changed.output, changed.tail
    dry = command(folder, "score", "dry_run=true")
    assert dry.code == 0, dry.tail
    printed += again.output + intact.output + other.output + changed.output + dry.output
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    expected = {"config.yaml", "plan.json", "sessions.json", "report.json", "report.md", "edit-rank000.log"}
    assert expected <= {path.name for path in files}
    contents = {path.name: path.read_bytes() for path in files} | {"the terminal": printed.encode()}
    for secret in [*SECRETS.values(), str(NUMBER)]:
        assert [name for name, content in contents.items() if secret.encode() in content] == []
    assert [name for name, content in contents.items() if b"s3cret" in content] == []
    report = json.loads(contents["report.json"])
    assert report["counts"]["scored"] == 3
    assert report["config"]["editor"]["max_new_tokens"] == report["editor"]["max_new_tokens"] == 64
    assert report["config"]["editor"]["hf_token"] == report["editor"]["hf_token"]
    assert re.fullmatch(r"<redacted [0-9a-f]{12}>", report["editor"]["hf_token"])


def test_a_secret_in_an_exceptions_text_is_hidden(folder: Path) -> None:
    outcome = command(folder, "edit", "editor._target_=private_code.LeakingEditor", "run_dir=leak", "max_failed=1")
    assert outcome.code == 1 and "<redacted> and {'api_key': '<redacted>', 'steps': 3}" in outcome.output, outcome.tail
    (edit,) = RunDir(folder / "leak").read_edits().values()
    assert edit.error == "403 for <redacted>"
    written = [path.read_bytes() for path in (folder / "leak").rglob("*") if path.is_file()]
    assert not [text for text in [*written, outcome.output.encode()] if b"s3cret" in text]


@pytest.mark.parametrize(
    "key", ["editor.hf_token", "editor.call.api_key", "editor.max_new_tokens", "+editor.stop_token"]
)
def test_every_argument_counts_in_a_unit_though_a_secret_is_not_shown(private: Path, key: str) -> None:
    before, after = (
        component_identity(configured(private, f"{key}={value}").editor, None) for value in (650001, 650002)
    )
    assert before != after
    assert "s3cret" not in json.dumps([before, after])
    restarted = component_identity(configured(private, f"{key}=650001").editor, None)
    assert restarted == before == redact(before)


def test_the_dataset_of_the_plan_gets_the_secrets_of_this_start(private: Path) -> None:
    config = configured(private)
    if RunDir(config.run_dir).read_plan() is None:
        command(private, "plan")
    planned = planned_dataset(config, RunDir(config.run_dir))
    assert planned.kwargs == config.dataset.kwargs | {"path": str(private / "bench.json")}
    open_dataset(planned)


@pytest.mark.parametrize(
    "override",
    [
        "judge.api_key=s3cret-a{b",
        "judge.api_key=s3cret=s3cret",
        "judge.api_key='s3cret",
        "+judge.nested.s3.secret_key=s3cret:[",
        "judge.api_key=s3cret judge.nope=1",
    ],
)
def test_an_override_that_cannot_be_read_is_told_without_its_secret(private: Path, override: str) -> None:
    with pytest.raises(UserError) as caught:
        configured(private, *override.split(" "))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["[s3cret]", "{a: s3cret}"])
def test_a_secret_of_the_wrong_type_is_told_without_it(private: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"judge\.api_key=.*redacted.* must be a text") as caught:
        check_components(configured(private, f"judge.api_key={value}"))
    assert value.strip("[]{}") not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        *("token", "hf_token", "HF_TOKEN", "api_key", "apikey", "apiKey", "x-api-key", "openai_api_key", "password"),
        *("db_password", "secret", "client_secret", "secret_key", "aws_secret_access_key", "private_key"),
        *("credentials", "Authorization"),
    ],
)
@pytest.mark.parametrize("value", ["s3cret", ["s3cret"], {"a": "s3cret"}, {"a": [{"b": "s3cret"}]}])
def test_a_key_that_names_a_secret_hides_all_below_it(key: str, value: object) -> None:
    assert "s3cret" not in json.dumps(redact({"x": [{key: value}]}))


@pytest.mark.parametrize(
    "plain",
    [
        {"max_new_tokens": 64, "tokens": "a", "token_ids": [1], "eos_token": 5, "tokenizer": "t", "keyboard": "k"},
        {"key": "value", "keys": ["a"], "monkey": "x", "password_required": "no", "use_token": True, "secretary": "s"},
        {"hf_token": None, "api_key": "", "credentials": {}},
    ],
)
def test_what_is_no_secret_stays(plain: dict[str, object]) -> None:
    assert redact(plain) == plain


@pytest.mark.parametrize(
    "given", [{"a": 1, "b": {"token": "t", "c": [{"api_key": "k", "d": 2}]}, "password": 5, "secret": ["x", "y"]}, {}]
)
def test_restoring_undoes_redacting(given: dict[str, object]) -> None:
    assert restore(redact(given), given) == given


def test_restoring_from_other_data_invents_nothing() -> None:
    redacted = redact({"a": {"token": "t"}, "b": [{"token": "t"}], "c": 1})
    assert restore(redacted, {"a": 5, "b": []}) == {"a": {"token": None}, "b": [{"token": None}], "c": 1}


def test_the_id_of_a_token_is_shown_and_a_number_to_log_in_with_is_not():
    assert redact({"eos_token": 151645}) == {"eos_token": 151645}
    assert "12345678901" not in str(redact({"hf_token": 12345678901}))
