"""A judge behind a server: what it is asked, what answers mean, and what is said of a server that gives none."""

import base64
import dataclasses
import io
import json
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark_file import make_picture
from PIL import Image, ImageChops
from stub_server import Answer, Got, Stub, completion, serving, top
from test_score import Run

from editbench import gate, text
from editbench.components.check import check_components
from editbench.config.load import load
from editbench.config.schema import Config
from editbench.errors import ServerError, UserError
from editbench.http_json import MOST_WAIT_S, RequestError, Server
from editbench.judges import placement
from editbench.judges.base import CUT_OFF, Request
from editbench.judges.batches import add_up
from editbench.judges.chat_completions import as_plain, read_likely, read_reply
from editbench.judges.labels import read_labels
from editbench.judges.openai_server import OpenAIServerJudge
from editbench.run.identity import changed_keys, component_identity

KEY = "sk-test-0123456789abcdef"
DIGITS = [str(digit) for digit in range(10)]
LIKELY = {str(digit): math.log((digit + 1) / 60) for digit in range(10)}
"""Probabilities 1/60 to 10/60, together 55/60."""


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not made; and no secret stays known from one test to the next."""
    made: list[float] = []
    original = gate.pause_s

    def not_made(pauses: int, wanted_s: float | None) -> float:
        made.append(original(pauses, wanted_s))
        return 0.0

    monkeypatch.setattr(gate, "pause_s", not_made)
    monkeypatch.setattr(text, "_known", [])
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return made


def likely(got: Got, tokens: dict[str, float] = LIKELY) -> Answer:
    """What a server with prefill answers: the tokens behind `Score: `, where they are asked for."""
    logprobs = {"logprobs": {"content": [top(**tokens)]}} if got.body.get("logprobs") else {}
    return Answer(completion("Score: 7", "length" if got.body["max_tokens"] == 1 else "stop", **logprobs))


def judge(stub: Stub, **settings: Any) -> OpenAIServerJudge:
    return OpenAIServerJudge(["cpu"], **({"base_url": stub.url, "model": "m", "top_logprobs": 10} | settings))


def request(number: int = 0, start: str = "", wanted: Any = "reply", user: str = "What is it worth?") -> Request:
    images = tuple(make_picture(3 * number + k, (40, 30)) for k in range(1 + number % 2))
    return Request(number, "You judge.", user, images, start, wanted)


# What is asked


def test_images_come_as_they_are_before_the_text_and_the_turn_that_is_begun_last() -> None:
    with serving(likely) as stub:
        served = judge(stub, max_new_tokens=64, body={"seed": 5, "temperature": None})
        served.reply(served.prepare([request(1)]))
        served.reply(served.prepare([request(0, "It is nice.\nScore: ", "number")]))
        served.label_probabilities(served.prepare([request(0, "Score: ", "label")]), DIGITS)
        whole, number, label = stub.asked()[-3:]
    system, user = whole["messages"]
    assert system == {"role": "system", "content": "You judge."}
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "text"]
    assert user["content"][2]["text"] == "What is it worth?"
    for part, shown in zip(user["content"], request(1).images, strict=False):
        kind, _, data = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        assert ImageChops.difference(Image.open(io.BytesIO(base64.b64decode(data))), shown).getbbox() is None
    assert {name: whole.get(name) for name in ("model", "max_tokens", "seed", "temperature", "logprobs")} == {
        **{"model": "m", "max_tokens": 64, "seed": 5},
        **{"temperature": None, "logprobs": None},
    }
    assert "temperature" not in whole and "continue_final_message" not in whole
    for begun, start, most in ((number, "It is nice.\nScore: ", 12), (label, "Score: ", 1)):
        assert begun["messages"][2] == {"role": "assistant", "content": start}
        assert (begun["add_generation_prompt"], begun["continue_final_message"]) == (False, True)
        assert begun["max_tokens"] == most
    assert (label["logprobs"], label["top_logprobs"]) == (True, 10)


def test_images_stand_behind_the_text_where_that_is_wanted() -> None:
    with serving(likely) as stub:
        served = judge(stub, images="last")
        served.reply(served.prepare([request(1)]))
        user = stub.asked()[-1]["messages"][1]
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "image_url"]


def test_replies_are_drawn_by_the_seeds_of_their_requests() -> None:
    with serving(likely) as stub:
        served = judge(stub, temperature=0.7)
        served.reply(served.prepare([request()]), [2**31 + 5])
    assert (stub.asked()[-1]["temperature"], stub.asked()[-1]["seed"]) == (0.7, 5)
    assert (stub.asked()[0]["temperature"], "seed" in stub.asked()[0]) == (0, False)


def test_without_prefill_no_turn_is_begun_and_no_reply_is_completed() -> None:
    with serving(likely) as stub:
        served = judge(stub, prefill=False)
        before = len(stub.got)
        assert served.reply(served.prepare([request(0, "Nice.\nScore: ", "number")])) == [""]
        assert len(stub.got) == before
        served.label_probabilities(served.prepare([request(0, "Score: ", "label")]), DIGITS)
    sent = stub.asked()[-1]
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert "continue_final_message" not in sent and sent["max_tokens"] == 8


@pytest.mark.parametrize(
    ("text", "special"),
    [
        ("end <|im_end|> it", "<|im_end|>"),
        ("<think>", "<think>"),
        ("</s> now", "</s>"),
        ("<｜User｜>", "<｜User｜>"),
        ("[/INST] I", "[/INST]"),
        ("<start_of_turn>", "<start_of_turn>"),
    ],
)
def test_no_word_of_others_acts_as_a_special_token(text: str, special: str) -> None:
    plain = as_plain(text)
    assert special not in plain and plain.replace("\N{WORD JOINER}", "") == text


@pytest.mark.parametrize("text", ["a < b > c", "<b>bold</b>", "[0, 1]", "x <| y", "f(a)[i]", "物理"])
def test_plain_words_stay(text: str) -> None:
    assert as_plain(text) == text


# What answers mean


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (completion("Score: 8.5"), "Score: 8.5"),
        (completion("Score: 8.5", "length"), "Score: 8.5" + CUT_OFF),
        (completion("Score: 8.5", None), "Score: 8.5" + CUT_OFF),
        (completion("so so</think>\nScore: 8"), "<think>so so</think>\nScore: 8"),
        (completion("<think>a</think>8"), "<think>a</think>8"),
        (completion(None, "length"), CUT_OFF),
        (completion("half \ud83d"), "half ?"),
        ({"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}, "No."),
    ],
)
def test_a_reply_is_what_the_server_wrote_and_says_where_it_was_cut(answer: Any, reply: str) -> None:
    assert read_reply(answer, "") == reply


@pytest.mark.parametrize("content", ["Nice.\nScore: 7.5", "7.5"])
def test_a_reply_goes_on_behind_its_start_whether_or_not_the_server_repeats_that(content: str) -> None:
    assert read_reply(completion(content), "Nice.\nScore: ") == "7.5"


@pytest.mark.parametrize(
    "answer",
    [
        *([], None, "x", {}, {"choices": []}, {"choices": [3]}, {"choices": {"0": 1}}, {"choices": [{}]}),
        *({"choices": [{"message": "x"}]}, {"choices": [{"message": {"content": ["x"]}}]}),
        completion("Score: 3", "content_filter"),
        {"error": {"message": "no"}},
    ],
)
def test_what_is_no_reply_is_an_error(answer: Any) -> None:
    with pytest.raises(ValueError, match="server's"):
        read_reply(answer, "")


def test_probabilities_are_those_of_the_first_token_and_what_is_not_listed_has_none() -> None:
    answer = completion(logprobs={"content": [top(**{"7": math.log(0.5), " 7": math.log(0.2), "A": -9999.0})]})
    found = read_likely(answer, DIGITS, True)
    assert found.tokens == 3 and found.probabilities == pytest.approx({"7": 0.5, " 7": 0.2, "A": 0.0})


def test_without_prefill_the_label_stands_behind_the_judges_own_words() -> None:
    written = [top(Score=-0.1), top(**{":": -0.1}), top(**{" ": 0.0})]
    digits = top(**{"8": math.log(0.6), "7": math.log(0.3)})
    for places in ([*written, digits], [digits], [*written[:2], top(**{" 8": math.log(0.6), "7": math.log(0.3)})]):
        found = read_likely(completion(logprobs={"content": places}), DIGITS, False)
        assert found.probabilities == pytest.approx({"8": 0.6, "7": 0.3})
    elsewhere = [top(I=-0.1), top(**{" say": -0.1}), digits]
    assert read_likely(completion(logprobs={"content": elsewhere}), DIGITS, False).probabilities == {}


@pytest.mark.parametrize(
    "logprobs",
    [
        *(None, 3, {}, {"content": None}, {"content": []}, {"content": [1]}, {"content": [{"token": "7"}]}),
        *({"content": [{"top_logprobs": 5}]}, {"content": [{"top_logprobs": [5]}]}),
        *({"content": [top(**{"7": value})]} for value in (0.5, math.nan, math.inf, 10**400, True, "-1", None)),
        {"content": [top(**{"7": -0.1, "8": -0.1})]},
    ],
)
def test_what_is_no_probability_is_an_error(logprobs: Any) -> None:
    with pytest.raises(ValueError, match=r"logprobs?"):
        read_likely(completion(logprobs=logprobs), DIGITS, True)


def test_rounded_logprobs_are_probabilities_still() -> None:
    answer = completion(logprobs={"content": [top(**{"7": math.log(0.6) + 4e-5, "8": math.log(0.4) + 4e-5})]})
    found = read_likely(answer, DIGITS, True).probabilities
    assert math.fsum(found.values()) == pytest.approx(1, abs=1e-12)
    score = read_labels([found.get(d, 0.0) for d in DIGITS], {d: float(d) for d in DIGITS}, 0.5).score
    assert score == pytest.approx(7.4)


# A whole batch


def test_a_batch_keeps_its_order_and_one_refusal_leaves_the_others_their_scores(tmp_path: Path) -> None:
    def answer(got: Got) -> Answer:
        words = json.dumps(got.body["messages"])
        if "Change picture 2." in words:
            return Answer({"error": {"message": "jailbreak detected"}}, 400)
        number = next((n for n in range(8) if f"Change picture {n}." in words), 0)
        return Answer(completion(f"Score: {number}"))

    run = Run(tmp_path)
    with serving(answer) as stub:
        judgments = run.judge(judge(stub))
        assert len(stub.got) == 1 + 8  # the trial, and each sample once
    assert [judgment.state for judgment in judgments].count("scored") == 7
    refused = [judgment for judgment in judgments if judgment.state == "judge_failed"]
    assert [(one.error_type, one.error, one.score) for one in refused] == [
        ("RequestError", "HTTP 400: jailbreak detected", None)
    ]
    scores = {judgment.sample_id: judgment.score for judgment in judgments if judgment.score is not None}
    wanted = {s.sample_id: float(s.index) for s in run.plan.samples if s.index != 2}
    assert scores == wanted


def test_expected_scores_follow_from_the_servers_probabilities(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with serving(likely) as stub:
        served = judge(stub)
        served.check_labels(DIGITS)
        judgments = run.judge(served, "judge.mode=expected")
        counted = served.counted()
    mean = sum((d + 1) * d for d in range(10)) / 55
    assert {(j.state, j.score, j.label_mass) for j in judgments} == {("scored", round(mean, 6), round(55 / 60, 6))}
    assert counted["answered_by"] == {"m-2026, fp_1": 10}
    assert counted["usage"] == {
        **{"requests": 10, "prompt_tokens": 1000, "completion_tokens": 50},
        **{"labels_missing_from_top_logprobs": 0, "retries": 0},
    }


def test_a_label_that_is_not_among_the_likeliest_counts_as_nothing_and_is_counted() -> None:
    with serving(lambda got: likely(got, {"7": math.log(0.5), "8": math.log(0.3)})) as stub:
        served = judge(stub, top_logprobs=2)
        served.check_labels(DIGITS)
        (found,) = served.label_probabilities(served.prepare([request(0, "Score: ", "label")]), DIGITS)
    assert found == pytest.approx([0] * 7 + [0.5, 0.3, 0])
    assert served.counted()["usage"]["labels_missing_from_top_logprobs"] == 8


def test_a_server_that_is_lost_ends_the_phase_and_no_sample_is_blamed(tmp_path: Path) -> None:
    state = {"lost": False}
    with serving(lambda _: Answer({}, 401) if state["lost"] else Answer(completion())) as stub:
        served = judge(stub)
        state["lost"] = True
        with pytest.raises(ServerError, match="wants a key"):
            Run(tmp_path).judge(served)


# Servers that cannot be asked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer({"error": {"message": "bad key"}}, 401),
            r"wants a key \(HTTP 401: bad key\); put it into .*OPENAI_API_KEY",
        ),
        (Answer({"detail": "Not Found"}, 404), r"knows no /chat/completions, or no such model \(HTTP 404: Not Found\)"),
        (Answer(b"<html>nginx</html>"), r"the answer is no JSON: <html>nginx</html>"),
        (Answer([1]), r"no chat completion: \[1\]"),
        (Answer(b"[" * 100_000), r"the answer is no JSON"),
        (Answer({}, 301, {"Location": "http://elsewhere/"}), r"HTTP 301"),
        (
            Answer({"error": "Unrecognized request argument: add_generation_prompt"}, 400),
            r"Unrecog.*set judge\.prefill=false and judge\.complete_replies=false",
        ),
        (Answer({"error": "is not a multimodal model"}, 400), r"is not a multimodal model"),
    ],
)
def test_what_is_wrong_with_a_server_is_one_sentence_before_anything_is_judged(answer: Answer, said: str) -> None:
    with serving(lambda _: answer) as stub, pytest.raises(UserError, match=said) as caught:
        judge(stub, api_key_env="OPENAI_API_KEY")
    assert "\n" not in str(caught.value) and stub.url.split("/")[2] in str(caught.value)


def test_a_model_that_is_not_served_is_told_with_those_that_are() -> None:
    def answer(got: Got) -> Answer:
        if got.path == "/v1/models":
            return Answer({"data": [{"id": "qwen"}, {"id": "glm"}]})
        return Answer({"error": {"message": "The model `m` does not exist."}}, 404)

    with serving(answer) as stub, pytest.raises(ServerError, match=r"`m` does not exist.*it serves qwen, glm"):
        judge(stub)


def test_nobody_at_the_address_is_told_at_once(pauses: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ServerError, match=r"nobody answers \(ConnectError: .*\); start the server there"):
        OpenAIServerJudge(["cpu"], url, "m")
    assert pauses == []


def test_a_server_that_ignores_logprobs_gives_no_scores() -> None:
    with serving(lambda _: Answer(completion())) as stub:
        served = judge(stub)
        with pytest.raises(UserError, match=r"holds no logprobs; judge\.mode=expected needs them"):
            served.check_labels(DIGITS)
        (found,) = served.label_probabilities(served.prepare([request(0, "Score: ", "label")]), DIGITS)
    assert isinstance(found, ValueError)


@pytest.mark.parametrize(
    ("settings", "tokens", "labels", "said"),
    [
        ({"top_logprobs": 20}, LIKELY, DIGITS, r"judge\.top_logprobs=20: .* gives the 10 likeliest tokens alone"),
        ({}, LIKELY, ["A", "B"], r"none of A, B is among the 10 likeliest tokens"),
        ({"body": {"guided_choice": ["1"]}}, LIKELY, DIGITS, r"judge\.body\.guided_choice: .*constrained choice"),
        ({"body": {"response_format": {}}}, LIKELY, DIGITS, r"judge\.body\.response_format"),
    ],
)
def test_labels_that_cannot_be_read_off_are_refused(
    settings: dict[str, Any], tokens: dict[str, float], labels: list[str], said: str
) -> None:
    with serving(lambda got: likely(got, tokens)) as stub:
        served = judge(stub, **settings)
        with pytest.raises(UserError, match=said):
            served.check_labels(labels)


def test_a_label_of_two_tokens_is_refused_by_the_servers_own_count() -> None:
    def answer(got: Got) -> Answer:
        words = got.body["messages"][-1]["content"]
        counted = completion() | {"usage": {"prompt_tokens": 20 + ("Score: 10" in words)}}
        return Answer(counted) if not got.body.get("logprobs") else likely(got)

    with serving(answer) as stub:
        served = judge(stub)
        served.check_labels(["7", "好", "8"])
        with pytest.raises(UserError, match="'10' is more than one token"):
            served.check_labels(["0", "5", "10"])


# Tries


def in_turn(*answers: Answer) -> Callable[[Got], Answer]:
    """The trial is answered well; then these come, the last one for ever."""
    waiting = [Answer(completion()), *answers]
    return lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        (Answer({}, 429, {"Retry-After": "7"}), 7.0),
        (Answer({}, 503, {"Retry-After": "2.5"}), 2.5),
        (Answer({}, 500), 0.25),
        (Answer({}, 429, {"Retry-After": "soon"}), 0.25),
        (Answer({}, 429, {"Retry-After": "-5"}), 0.25),
        (Answer({}, 429, {"Retry-After": "nan"}), 0.25),
        (Answer({}, 429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.0),
        (Answer(b"{", 200, {"Content-Length": "50", "Connection": "close"}), 0.25),
    ],
)
def test_what_may_pass_is_tried_again_after_the_wait_that_is_wanted(
    failure: Answer, least: float, pauses: list[float]
) -> None:
    with serving(in_turn(failure, Answer(completion("Score: 4")))) as stub:
        served = judge(stub, timeout_s=0.5)
        assert served.reply(served.prepare([request()])) == ["Score: 4"]
    assert len(pauses) == 1 and least <= pauses[0] <= least + 1.0
    assert served.counted()["usage"]["retries"] == 1


def test_pauses_grow_and_differ_and_end(pauses: list[float]) -> None:
    with serving(in_turn(Answer({"error": {"message": "engine dead"}}, 500))) as stub:
        served = judge(stub, max_retries=6)
        failures = served.reply(served.prepare([request(0), request(0)]))
        assert len(stub.got) == 1 + 2 * 7
    assert [str(failure) for failure in failures] == ["HTTP 500: engine dead"] * 2
    assert len(set(pauses)) == 12 and max(pauses) > 8 > 1.5 > min(pauses)


@pytest.mark.parametrize(
    ("status", "wait", "said"),
    [
        *((status, None, "takes no more after 3 tries") for status in (429, 503, 529)),
        *((status, MOST_WAIT_S + 1, "takes no more for 301 s") for status in (429, 500, 503)),
    ],
)
def test_a_server_that_takes_no_more_ends_the_phase_and_no_sample_is_blamed(
    status: int, wait: float | None, said: str, pauses: list[float]
) -> None:
    headers = {"Retry-After": str(wait)} if wait else {}
    with serving(in_turn(Answer({"error": "quota"}, status, headers))) as stub:
        served = judge(stub, max_retries=2)
        with pytest.raises(ServerError, match=rf"{said} \(HTTP {status}: quota\); start the same command again later"):
            served.reply(served.prepare([request()]))
        assert len(stub.got) == 1 + (1 if wait else 3)


def test_a_batch_that_would_have_to_wait_is_left_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    monkeypatch.setattr(gate, "pause_s", lambda _pauses, wanted_s: wanted_s)
    with serving(in_turn(Answer(completion("Score: 4")), Answer({}, 429, {"Retry-After": "60"}))) as stub:
        served = judge(stub)
        served.stop_when(lambda: len(stub.got) > 2)
        began = time.monotonic()
        assert list(run.batch_judge(served).run([(run.find()[0], None)])) == []
        assert time.monotonic() - began < 10


def test_an_answer_that_does_not_come_fails_its_sample_alone() -> None:
    silent = Answer(b"{", 200, {"Content-Length": "50"})  # and the connection stays open
    with serving(in_turn(silent, Answer(completion("Score: 4")))) as stub:
        served = judge(stub, timeout_s=0.3, max_retries=0)
        late, good = served.reply(served.prepare([request()])), served.reply(served.prepare([request()]))
    assert isinstance(late[0], RequestError) and str(late[0]) == "no answer within 0.3 s"
    assert good == ["Score: 4"]


def test_a_server_that_is_gone_in_the_middle_ends_the_phase(pauses: list[float]) -> None:
    with serving(likely) as stub:
        served = judge(stub, max_retries=3)
    served._server._client.close()
    fresh = OpenAIServerJudge.__new__(OpenAIServerJudge)
    fresh.__dict__.update(served.__dict__)
    fresh._server = Server(stub.url, None, served._server._limits, "judge")
    fresh._server._answered = True
    with pytest.raises(ServerError, match="nobody answers after 4 tries"):
        fresh.reply(fresh.prepare([request()]))
    assert len(pauses) == 3


# The key


def test_the_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "editbench")

    def echo(got: Got) -> Answer:
        key = got.headers["authorization"]
        if got.body and "tell" in json.dumps(got.body["messages"]):
            return Answer({"error": {"message": f"refused {key}"}}, 422)
        return Answer(completion(f"Score: 7 {key}") | {"model": key, "system_fingerprint": key})

    monkeypatch.setenv("JUDGE_LOGIN", KEY)
    with serving(echo) as stub:
        served = judge(stub, api_key_env="JUDGE_LOGIN")
        answers = served.reply(served.prepare([request(), request(user="tell")]))
    assert {got.headers["authorization"] for got in stub.got} == {f"Bearer {KEY}"}
    assert answers[0] == "Score: 7 Bearer <redacted>" and str(answers[1]) == "HTTP 422: refused Bearer <redacted>"
    shown = [repr(answers), repr(served.describe()), repr(served.counted()), *capfd.readouterr(), caplog.text]
    assert not [one for one in shown if KEY in one]


def test_a_refused_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    answer = Answer({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    with serving(lambda _: answer) as stub, pytest.raises(ServerError, match="refuses the key") as caught:
        judge(stub, api_key_env="OPENAI_API_KEY")
    assert KEY not in str(caught.value) and "OPENAI_API_KEY" in str(caught.value)


def test_what_cannot_be_a_key_is_not_sent_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "two words-secret")
    with pytest.raises(UserError, match="OPENAI_API_KEY holds is no key") as caught:
        OpenAIServerJudge(["cpu"], "http://127.0.0.1:1/v1", "m", api_key_env="OPENAI_API_KEY")
    assert "secret" not in str(caught.value)


# Settings


@pytest.fixture(scope="module")
def config() -> Config:
    return load(["judge=openai", "judge.model=m"])


def with_settings(config: Config, **settings: Any) -> Config:
    judge_config = config.judge
    return dataclasses.replace(config, judge=dataclasses.replace(judge_config, kwargs=judge_config.kwargs | settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "localhost:8000"}, r"judge\.base_url: must be an address such as"),
        ({"base_url": "ftp://h/v1"}, r"judge\.base_url"),
        ({"base_url": "https://me:s3cret@host/v1"}, r"judge\.base_url: .*without user name"),
        ({"base_url": "https://host/v1?key=s3cret"}, r"judge\.base_url"),
        ({"api_key_env": "sk-s3cret"}, r"judge\.api_key_env: must be the name of an environment variable"),
        ({"model": None}, r"judge\.model=None: must be the name of a model"),
        ({"body": {"messages": 1}}, r"judge\.body\.messages: is set by settings of its own"),
        ({"top_logprobs": 0}, r"judge\.top_logprobs=0"),
        ({"timeout_s": 0}, r"judge\.timeout_s=0"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_a_server(
    config: Config, settings: dict[str, Any], said: str
) -> None:
    check_components(config)
    with pytest.raises(UserError, match=said) as caught:
        check_components(with_settings(config, **settings))
    assert "s3cret" not in str(caught.value)


def test_the_model_and_what_it_is_asked_decide_and_the_way_to_the_server_does_not(config: Config) -> None:
    def identity(**settings: Any) -> dict[str, Any]:
        return component_identity(with_settings(config, **settings).judge, None)

    for name, value in {
        "base_url": "x",
        "api_key_env": None,
        "concurrency": 3,
        "timeout_s": 9,
        "max_retries": 0,
    }.items():
        assert identity(**{name: value}) == identity()
    differ = {"model": "n", "body": {"seed": 1}, "prefill": False, "max_new_tokens": 9, "top_logprobs": 5}
    for name, value in differ.items():
        assert identity(**{name: value}) != identity()
    assert changed_keys({"judge": {"model": "m", "concurrency": 1}}, {"judge": {"model": "n"}}, ["judge."]) == [
        "judge.model: 'm' -> 'n'"
    ]


def test_a_body_can_be_given_on_the_command_line_and_batches_follow_the_concurrency() -> None:
    config = load(["judge=openai", "judge.model=m", "judge.body={seed:1,temperature:null}", "judge.concurrency=5"])
    assert config.judge.kwargs["body"] == {"seed": 1, "temperature": None}
    assert config.judge.batch_size == 5


def test_it_needs_no_gpu_and_every_rank_asks(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_look(*_: Any) -> Any:
        raise AssertionError("no device is looked for")

    monkeypatch.setattr(placement, "usable_devices", no_look)
    ranks = SimpleNamespace(rank=0, local_rank=0, local_world_size=2)
    group = SimpleNamespace(ranks=ranks, all_gather=lambda value: [value, value])
    placed = placement.place(config, group, None)
    assert placed == placement.Placement([["cpu"], ["cpu"]], 16)


def test_what_replicas_count_is_added_up() -> None:
    one = {"usage": {"requests": 3, "retries": 0}, "answered_by": {"m": 3}}
    other = {"usage": {"requests": 2, "retries": 1}, "answered_by": {"m": 1, "n": 1}}
    assert add_up([one, {}, other]) == {"usage": {"requests": 5, "retries": 1}, "answered_by": {"m": 4, "n": 1}}
