"""A judge behind an OpenAI-compatible chat server: vLLM, SGLang, llama.cpp, transformers serve, or a hosted one."""

import dataclasses
import datetime
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from PIL import Image

from editbench.config.annotations import Count, CountOrZero, Rule
from editbench.config.schema import ANSWER_START, Positive
from editbench.errors import ServerError, UserError
from editbench.http_json import Limits, RequestError, Server
from editbench.judges.base import ImagesStand, Request
from editbench.judges.chat_completions import CONTINUE, ChatSettings, begun, clean, read_likely, read_reply
from editbench.server_address import check_address
from editbench.text import printable

Read = TypeVar("Read")

Temperature = Annotated[float, Rule(lambda number: 0 <= number <= 2, "a number from 0 to 2")]

ModelName = Annotated[
    str, Rule(lambda name: bool(name.strip()), "the name of a model as the server lists it at base_url/models")
]

OWN_FIELDS = frozenset({"model", "messages", "stream", "n", "logprobs", "top_logprobs", *CONTINUE})
CONSTRAINTS = (
    *("response_format", "structured_outputs", "guided_", "grammar", "json_schema", "regex", "ebnf", "logit_bias"),
)
"""Fields, or what their names begin with, that change which tokens can come: probabilities mean nothing then."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A request as it is sent.

    Attributes:
        body: The JSON; empty for what the server cannot be asked, to go on with a reply.
        start: What the judge's turn begins with in it.
    """

    body: dict[str, Any]
    start: str


class OpenAIServerJudge:
    """Answers by requests to a server, those of a batch at the same time.

    Args:
        devices: Not used; the server has its own.
        base_url: What `/chat/completions` is put behind.
        model: Name that the server knows the model by. The model itself is not known here: it is the user's word.
        api_key_env: Environment variable with the key; None, or one that is not set: no key is sent.
        prefill: Whether the server goes on with a turn of the judge that is begun.
        max_new_tokens: Longest reply, in tokens.
        temperature: Above 0 replies are drawn, by a seed of each request, as far as the server heeds it.
        top_logprobs: So many of the likeliest tokens are asked for in mode `expected`; a label that is not among them
            counts as 0.
        images: Whether the images of a request stand before its text or behind it.
        body: More fields of each request; null takes a field away.
        concurrency: Requests at a time.
        timeout_s: Seconds within which a reply must be there.
        max_retries: How often a request is sent again.

    Raises:
        ServerError: nobody answers there, or the key or the model is refused.
        UserError: the server cannot answer such requests.
    """

    uses_gpu = False

    def __init__(
        self,
        devices: list[str],
        base_url: str,
        model: ModelName,
        api_key_env: str | None = None,
        prefill: bool = True,
        max_new_tokens: Count = 128,
        temperature: Temperature = 0.0,
        top_logprobs: Count = 20,
        images: ImagesStand = "first",
        body: dict[str, Any] | None = None,
        concurrency: Count = 16,
        timeout_s: Positive = 120.0,
        max_retries: CountOrZero = 5,
    ) -> None:
        self._server = Server(base_url, api_key_env, Limits(timeout_s, max_retries, concurrency), "judge")
        self._settings = ChatSettings(model, prefill, max_new_tokens, temperature, top_logprobs, images, body or {})
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._usage: Counter[str] = Counter()
        self._answered_by: Counter[str] = Counter()
        self._says: dict[str, str] = {}
        self._try_out("number" if prefill else "reply", self._reply_to)

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check the arguments as far as that needs no server.

        Raises:
            UserError: one of them is wrong.
        """
        check_address(kwargs["base_url"], kwargs.get("api_key_env"), "judge")
        if own := sorted(OWN_FIELDS & set(kwargs.get("body") or {})):
            raise UserError(f"judge.body.{own[0]}: is set by settings of its own; remove it")

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """Let no request wait to be sent once this gives true."""
        self._server.stop_when(stopping)

    def prepare(self, requests: Sequence[Request]) -> list[Asked]:
        """Encode the images and lay out the requests."""
        return [self._asked(request) for request in requests]

    def reply(self, prepared: Sequence[Asked], seeds: Sequence[int] | None = None) -> list[str | Exception]:
        """Ask for all of the batch at the same time; a request that fails has its exception in the reply's place."""
        if seeds is not None:
            prepared = [
                dataclasses.replace(asked, body=asked.body and self._settings.drawn(asked.body, seed))
                for asked, seed in zip(prepared, seeds, strict=True)
            ]
        return self._ask(prepared, self._reply_to)

    def check_labels(self, labels: Sequence[str]) -> None:
        """Ask for the labels of a made-up case.

        Raises:
            UserError: the server gives no probabilities, fewer than are asked for, or those of a constrained choice; a
                label is more than one token, or none comes to its mind.
        """
        asked = self._settings
        for field in asked.more:
            if field.startswith(CONSTRAINTS):
                raise UserError(f"judge.body.{field}: probabilities of a constrained choice tell nothing; remove it")
        likely = self._try_out("label", lambda _, answer: read_likely(answer, labels, asked.prefill))
        for label in labels:
            if len(label.encode()) > 1 and self._tokens_of(f"Score: {label}") > self._tokens_of("Score: 0"):
                raise UserError(f"judge.labels: {label!r} is more than one token for {asked.model}; digits are one")
        if not asked.prefill:
            return
        if likely.tokens < asked.top_logprobs:
            raise UserError(
                f"judge.top_logprobs={asked.top_logprobs}: {self._server.host} gives the {likely.tokens} likeliest "
                f"tokens alone; raise its limit, or set judge.top_logprobs={likely.tokens}"
            )
        if not set(labels) & set(likely.probabilities):
            come = ", ".join(map(repr, list(likely.probabilities)[:5]))
            raise UserError(
                f"judge.labels: none of {', '.join(labels)} is among the {likely.tokens} likeliest tokens of "
                f"{asked.model} behind {ANSWER_START!r} ({come} …); turn its thinking off, set judge.prefill=false if "
                "the server starts a turn of its own, or use judge.mode=generate"
            )

    def label_probabilities(self, prepared: Sequence[Asked], labels: Sequence[str]) -> list[list[float] | Exception]:
        """Give the labels' probabilities among all tokens; 0 for a label that is not among the likeliest tokens."""

        def read(_: Asked, answer: Any) -> list[float]:
            likely = read_likely(answer, labels, self._settings.prefill).probabilities
            self._count({"labels_missing_from_top_logprobs": sum(label not in likely for label in labels)})
            return [likely.get(label, 0.0) for label in labels]

        return self._ask(prepared, read)

    def describe(self) -> dict[str, Any]:
        """Who answers, as the server itself says; of a hosted model this is all that is known."""
        return {
            "host": self._server.host,
            "model": self._settings.model,
            "served_model": self._says.get("model"),
            "system_fingerprint": self._says.get("system_fingerprint"),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "prefill": self._settings.prefill,
            "max_new_tokens": self._settings.max_new_tokens,
        }

    def counted(self) -> dict[str, dict[str, int]]:
        """What this replica has used and whom it was answered by, so far; the report adds up all replicas."""
        with self._lock:
            return {
                "usage": {**self._usage, "retries": self._server.retries},
                "answered_by": dict(self._answered_by),
            }

    def _asked(self, request: Request) -> Asked:
        return Asked(self._settings.body(request), begun(request) if self._settings.prefill else "")

    def _reply_to(self, asked: Asked, answer: Any) -> str:
        return read_reply(answer, asked.start)

    def _ask(self, prepared: Sequence[Asked], read: Callable[[Asked, Any], Any]) -> list[Any]:
        def one(asked: Asked) -> Any:
            if not asked.body:
                return ""
            try:
                return read(asked, self._send(asked.body))
            except (RequestError, ValueError) as error:
                return error

        with ThreadPoolExecutor(self._concurrency, "ask") as pool:
            return list(pool.map(one, prepared))

    def _send(self, body: dict[str, Any]) -> Any:
        answer = self._server.post("/chat/completions", json=body)
        if isinstance(answer, dict):
            usage = answer.get("usage")
            used = usage if isinstance(usage, dict) else {}
            numbers = {name: used.get(name) for name in ("prompt_tokens", "completion_tokens")}
            self._count({"requests": 1} | {name: n for name, n in numbers.items() if type(n) is int and n >= 0})
            by = [clean(str(answer.get(name))[:100]) for name in ("model", "system_fingerprint")]
            with self._lock:
                self._answered_by[", ".join(by)] += 1
        return answer

    def _count(self, more: dict[str, Any]) -> None:
        with self._lock:
            self._usage.update(more)

    def _try_out(self, wanted: Any, read: Callable[[Asked, Any], Read]) -> Read:
        """Ask about a made-up case what a run asks; whatever is wrong with the server shows before the run begins."""
        picture = Image.linear_gradient("L").convert("RGB")
        question = "Score this picture with a digit from 0 to 9. Answer with one line: Score: <digit>"
        asked = self._asked(Request(0, "You judge pictures.", question, (picture,), ANSWER_START, wanted))
        try:
            answer = self._send(asked.body)
            found = read(asked, answer)
        except ServerError as error:
            raise ServerError(f"{error}{self._which_models() if error.status == 404 else ''}") from None
        except (RequestError, ValueError) as error:
            raise UserError(
                f"judge: {self._server.host} cannot be asked as it is to be: {error}; {_hint(error)}"
            ) from None
        given = {name: answer.get(name) for name in ("model", "system_fingerprint")}
        self._says = {name: clean(value[:200]) for name, value in given.items() if isinstance(value, str)}
        served, wanted = self._says.get("model", self._settings.model), self._settings.model
        if served not in (wanted, f"{wanted}@main"):  # transformers serve adds the branch
            logger.warning("judge.model=%s is answered by %s", wanted, printable(served))
        return found

    def _which_models(self) -> str:
        try:
            listed = self._server.get("/models")["data"]
            names = ", ".join(clean(str(model["id"]))[:80] for model in listed[:8])
        except (RequestError, LookupError, TypeError):
            return ""
        return f"; it serves {names}" if names else ""

    def _tokens_of(self, text: str) -> int:
        """Tokens of a prompt with this text, as the server counts them; 0 if it does not say."""
        body = self._settings.filled_up({"messages": [{"role": "user", "content": text}], "max_tokens": 1})
        try:
            count = self._send(body)["usage"]["prompt_tokens"]
        except (RequestError, LookupError, TypeError):
            return 0
        return count if isinstance(count, int) else 0


def _hint(error: Exception) -> str:
    """What to do about a server that has not answered the made-up case as it should."""
    said = str(error)
    if "logprobs" in said:
        return "judge.mode=expected needs them, use judge.mode=generate, or a server that gives them"
    if any(field in said for field in CONTINUE):
        return "it cannot go on with a turn that is begun: set judge.prefill=false and judge.complete_replies=false"
    return "see judge.model, judge.prefill and judge.body for what it may not know"
