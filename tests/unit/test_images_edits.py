"""An editor behind a server, asked for edits of the test's own server: what is sent, what an answer gives."""

import base64
import email
import email.policy
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark_file import make_picture
from PIL import Image

from editbench import gate
from editbench.components.check import check_components
from editbench.config.load import load
from editbench.editors.images_edits import ImagesEditsEditor
from editbench.editors.one_sample import edit_one
from editbench.errors import InvalidOutputError, ServerError, UserError
from editbench.http_json import RequestError
from editbench.images import decode_rgb, encode_png
from editbench.run.records import EditTask, Sample
from editbench.text import redact

KEY = "sk-topsecret-0123456789"


class Stub:
    """A server that answers `/images/edits` with what it is told to, one answer a request, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.models: tuple[int, Any] = (200, {"data": [{"id": "painter"}]})
        self.forms: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.keys.append(self.headers["Authorization"])
                self.answer(*stub.models, {})

            def do_POST(self) -> None:
                stub.keys.append(self.headers["Authorization"])
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.forms.append(read_form(self.headers["Content-Type"], body) | {"path": self.path})
                self.answer(*stub.answers.pop(0))

            def answer(self, status: int, content: Any, headers: dict[str, str]) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def will_answer(self, status: int, content: Any, **headers: str) -> None:
        self.answers.append((status, content, {name.replace("_", "-"): value for name, value in headers.items()}))

    def will_paint(self, picture: Image.Image) -> None:
        self.will_answer(200, {"data": [{"b64_json": base64.b64encode(encode_png(picture)).decode()}]})


def read_form(content_type: str, body: bytes) -> dict[str, Any]:
    """Fields of multipart/form-data, files as (name, type, bytes)."""
    parsed = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
    form: dict[str, Any] = {}
    for part in parsed.iter_parts():
        name, data = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        value = (part.get_filename(), part.get_content_type(), data) if part.get_filename() else data.decode()
        form[name] = [*form.get(name, []), value] if name.endswith("[]") else value
    return form


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr("editbench.gate.FIRST_WAIT_S", 0.0)
    monkeypatch.setenv("PAINTER_KEY", KEY)
    stub = Stub()
    thread = threading.Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


def no_step(_done: int, _total: int) -> None:
    pass


def editor(stub: Stub, **changes: Any) -> ImagesEditsEditor:
    return ImagesEditsEditor(
        "cpu", **{"base_url": stub.url, "model": "painter", "api_key_env": "PAINTER_KEY"} | changes
    )


def test_several_sources_are_several_files_of_one_form_in_order_and_the_first_gives_the_shape(stub: Stub) -> None:
    sources = [make_picture(1, (60, 40)), make_picture(2, (30, 90))]
    stub.will_paint(make_picture(3, (192, 128)))
    editor(stub, size="keep", area=192 * 128).edit_several(sources, "make one of them", 5, no_step)
    (form,) = stub.forms
    assert form["size"] == "192x128" and "image" not in form
    assert [(name, kind) for name, kind, _ in form["image[]"]] == [
        ("image1.png", "image/png"),
        ("image2.png", "image/png"),
    ]
    assert [decode_rgb(data).tobytes() for _, _, data in form["image[]"]] == [one.tobytes() for one in sources]


def test_an_edit_is_a_form_with_picture_and_instruction_and_the_answer_is_the_picture(stub: Stub) -> None:
    source, made = make_picture(1, (60, 40)), make_picture(2, (96, 64))
    stub.will_paint(made)
    steps: list[tuple[int, int]] = []
    fields = {"num_inference_steps": 28, "quality": "high", "lora": {"name": "x"}, "background": None}
    painter = editor(stub, fields=fields, size="auto")
    result = painter.edit(source, "把天空变红 “red”", 7, lambda *step: steps.append(step))
    assert result.mode == "RGB" and result.tobytes() == made.tobytes()
    (form,) = stub.forms
    name, kind, sent = form.pop("image")
    assert (name, kind) == ("image.png", "image/png")
    assert decode_rgb(sent).tobytes() == source.tobytes()
    assert form == {
        **{"path": "/v1/images/edits", "model": "painter", "prompt": "把天空变红 “red”", "n": "1", "size": "auto"},
        **{"num_inference_steps": "28", "quality": "high", "lora": '{"name": "x"}'},
    }
    assert stub.keys == [f"Bearer {KEY}"] * 2
    assert steps == [(1, 1)]


def test_the_seed_is_sent_where_the_server_takes_one_and_else_the_report_says_that_it_is_not(stub: Stub) -> None:
    for _ in range(2):
        stub.will_paint(make_picture(2))
    without, with_seed = editor(stub), editor(stub, send_seed=True)
    for painter in (without, with_seed):
        painter.edit(make_picture(1), "x", 4294967295, no_step)
    assert [form.get("seed") for form in stub.forms] == [None, "4294967295"]
    assert "no seed" in without.describe()["note"]
    assert "note" not in with_seed.describe()


@pytest.mark.parametrize(
    ("source", "settings", "sent"),
    [
        ((200, 100), {"size": "keep", "area": 20000, "multiple": 1}, "200x100"),
        ((300, 100), {"size": "keep", "area": 1024 * 1024}, "1776x592"),  # 1773.6, 591.2
        ((100, 3000), {"size": "keep", "area": 65536, "multiple": 64}, "64x1408"),  # 46.7, 1402.2
        ((200, 100), {"size": "48x32"}, "48x32"),
        ((200, 100), {"size": None}, None),
    ],
)
def test_the_size_asked_for_follows_from_the_policy(
    stub: Stub, source: tuple[int, int], settings: dict[str, Any], sent: str | None
) -> None:
    width, height = map(int, sent.split("x")) if sent else (40, 30)
    stub.will_paint(make_picture(2, (width, height)))
    assert editor(stub, **settings).edit(make_picture(1, source), "x", 0, no_step).size == (width, height)
    assert stub.forms[0].get("size") == sent


def test_a_picture_of_another_size_than_asked_for_is_refused(stub: Stub) -> None:
    stub.will_paint(make_picture(2, (64, 64)))
    with pytest.raises(InvalidOutputError, match="returned 64x64 pixels, asked for were 48x32"):
        editor(stub, size="48x32").edit(make_picture(1), "x", 0, no_step)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again_as_soon_as_the_server_says(
    stub: Stub, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    original = gate.pause_s
    monkeypatch.setattr(gate, "pause_s", lambda *wanted: waited.append(original(*wanted)) or 0.0)
    stub.will_answer(status, {"error": {"message": "busy"}}, Retry_After="7")
    stub.will_paint(make_picture(2))
    painter = editor(stub)
    painter.edit(make_picture(1), "x", 0, no_step)
    assert waited == [7.0]
    assert stub.forms[0] == stub.forms[1]  # the whole picture once more
    assert painter.describe()["retries_of_rank_0"] == 1


@pytest.mark.parametrize("status", [429, 500])
def test_the_seconds_of_an_edit_are_without_the_wait_for_the_server(
    stub: Stub, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "pause_s", lambda *_: 1.0)
    stub.will_answer(status, {})
    stub.will_paint(make_picture(2))
    painter, began = editor(stub), time.monotonic()
    edit, _ = edit_one(painter, a_task(), lambda: [make_picture(1)], no_step)
    took = time.monotonic() - began
    assert edit.state == "edited" and edit.latency_s is not None
    assert took > 1.0 and 0 < edit.latency_s <= took - 1.0


REFUSAL = {"error": {"message": f"Your request was rejected by the safety system. {KEY}", "code": "moderation_blocked"}}


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (400, REFUSAL, "HTTP 400: Your request was rejected by the safety system."),
        (422, {"detail": [{"msg": "prompt too long"}]}, "HTTP 422"),
        (200, {"data": []}, "holds no picture"),
        (200, {"data": [{"revised_prompt": "no"}]}, "holds no picture"),
        (200, ["x"], "holds no picture"),
        (200, {"data": [{"url": "http://127.0.0.1/picture.png"}]}, r"\+editor\.fields\.response_format=b64_json"),
        (200, {"data": [{"b64_json": "not base64!"}]}, "is no base64"),
        (200, {"data": [{"b64_json": "AAAA"}]}, "are no readable image"),
    ],
)
def test_a_refusal_fails_its_sample_with_its_cause_and_without_the_key(
    stub: Stub, status: int, content: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    stub.will_answer(status, content)
    painter = editor(stub)
    with caplog.at_level(logging.DEBUG), pytest.raises((RequestError, ValueError), match=said):
        painter.edit(make_picture(1), "x", 0, no_step)
    stub.will_answer(status, content)
    edit, image = edit_one(painter, a_task(), lambda: [make_picture(1)], no_step)
    assert (edit.state, image) == ("edit_failed", None)
    assert edit.error and KEY not in edit.error + caplog.text


def a_task() -> EditTask:
    return EditTask(Sample(0, "a", "a-1", "physical", "make it night", "", "0" * 64, [0, 1]), 7, "unit")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "the server refuses the key .*put the right one into the environment variable PAINTER_KEY"),
        (404, "the server knows no /images/edits, or no such model .*correct the address or the model"),
    ],
)
def test_what_is_wrong_for_every_sample_ends_the_run_in_a_sentence(stub: Stub, status: int, said: str) -> None:
    stub.will_answer(status, {"error": {"message": f"no {KEY}"}})
    with pytest.raises(ServerError, match=said) as caught:
        edit_one(editor(stub), a_task(), lambda: [make_picture(1)], no_step)
    assert KEY not in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_that_is_not_there_or_refuses_the_key_shows_before_the_run_begins(stub: Stub) -> None:
    stub.models = (401, {"error": "no"})
    with pytest.raises(ServerError, match=r"editor\.base_url=.*wants another key .*editor\.api_key_env"):
        editor(stub)
    free = SimpleNamespace(url="http://127.0.0.1:9/v1")
    with pytest.raises(ServerError, match=r"editor\.base_url=http://127\.0\.0\.1:9/v1: nobody answers .*start the"):
        editor(free)


@pytest.mark.parametrize("models", [(404, {}), (200, {"data": "x"}), (200, []), (500, {"error": 1})])
def test_a_server_without_a_list_of_models_is_as_good(stub: Stub, models: tuple[int, Any]) -> None:
    stub.models = models
    stub.will_paint(make_picture(2))
    editor(stub).edit(make_picture(1), "x", 0, no_step)


def test_a_model_that_the_server_does_not_list_is_told(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    editor(stub, model="sculptor")
    assert "editor.model=sculptor is none of the models that the server lists: painter" in caplog.text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("editor.base_url=localhost:8000", "editor.base_url: must be an address such as http://localhost:8000/v1"),
        ("editor.base_url=http://me:pass@host/v1", "without user name, password"),
        (f"editor.api_key_env={KEY}", "editor.api_key_env: must be the name of an environment variable"),
        ("editor.size=1024", "editor.size='1024': must be keep, auto, width x height such as 1024x1536, or null"),
        ("editor.size=0x10", "editor.size='0x10'"),
        ("+editor.fields.prompt=x", "editor.fields.prompt: is set for every sample"),
        ("+editor.fields.seed=1", "editor.fields.seed: is set for every sample, or a setting of its own"),
        ("editor.timeout_s=0", "editor.timeout_s=0: must be a number above 0"),
        ("editor.max_retries=-1", "editor.max_retries=-1: must be a whole number from 0"),
    ],
)
def test_settings_are_checked_before_anything_is_asked(override: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_components(load(["editor=images_edits", "editor.model=m", "judge=fake", "dataset.path=x", override]))
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_no_setting_holds_the_key(stub: Stub) -> None:
    config = load(["editor=images_edits", "editor.model=m", "editor.api_key_env=PAINTER_KEY", "dataset.path=x"])
    check_components(config)
    assert KEY not in json.dumps(redact(config.resolved)) + json.dumps(editor(stub).describe())
