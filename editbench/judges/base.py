"""Judges: anything that answers a rubric's prompt about one or more images, in words or by probabilities of labels.

A new judge is a class with this shape, named by `_target_` in a YAML under `conf/judge/` that starts from
`judge_loop`; its constructor takes `devices` (such as `["cuda:0"]`, or `["cpu"]`, always where its class says
`uses_gpu = False`) and the YAML's keyword arguments beside the loop's, and loads the model. Heavy imports belong into
the constructor. An argument named `checkpoint`
(with `revision`) is resolved to a local folder first and counts by its content; so does `lora`, a dict with `path` and,
if wanted, `revision`, the place of a PEFT adapter.

A batch is judged in two steps: `prepare` does all that needs no device, and runs in background threads while the
batches before it are on the device; then `reply` (mode `generate`) or `label_probabilities` (mode `expected`) is given
what `prepare` returned. Scores are read by `reply.py` and `labels.py`, never by the judge. What a method `counted`
gives, if there is one, is added up over the replicas at the end, for the report. A method `stop_when(stopping)`, if
there is one, is given a function that tells whether the phase is stopping: then a batch that would have to wait for
long raises `StoppedError`, and is left for the next start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from PIL import Image

CUT_OFF = "…"
"""Last character of a reply that was cut off; a number right before it is no score, its end is missing."""

ImagesStand = Literal["first", "last"]
"""Where a request's images stand: before its text, or behind it, as VIEScore's prompts have them."""


@dataclass(frozen=True)
class Form:
    """The numbers that a reply is to hold.

    Attributes:
        criterion: Name of what is judged.
        labels: What the reply calls each number, in order.
        low, high: Lowest and highest value of each.
        whole: Whether they are whole numbers.
        title: What is judged, for people; a reply with a single number may call it so.
    """

    criterion: str
    labels: tuple[str, ...]
    low: float
    high: float
    whole: bool = True
    title: str = ""


@dataclass(frozen=True)
class Request:
    """What the judge is asked about one sample.

    Attributes:
        index: The sample's position in the plan.
        system: The rubric's system prompt.
        user: The rubric's user template, filled in.
        images: Mode RGB: the edited image, or the source images in order and the edited image.
        answer_start: What the judge's own turn begins with already; empty where it is to begin it.
        wanted: What is to come next, the same for all of a batch: a whole `reply`, the `number` that a reply without a
            score lacks (a few tokens), or one `label` (mode `expected`).
        seed: What a judge that draws its replies draws this one by; None for others. `prepare` must not use it, as what
            it makes serves for several replies with `judge.repeats`: `reply` is given the seeds.
        form: The numbers that a protocol's criterion asks for; None: the rubric's one score from 0 to 10.
    """

    index: int
    system: str
    user: str
    images: tuple[Image.Image, ...]
    answer_start: str = ""
    wanted: Literal["reply", "number", "label"] = "reply"
    seed: int | None = None
    form: Form | None = None


class Judge(Protocol):
    """Answers batches of requests. A judge for one mode alone has no need of the other mode's methods."""

    def prepare(self, requests: Sequence[Request]) -> Any:
        """Make of a batch what `reply` or `label_probabilities` takes: text, images and tensors, on the CPU.

        Called from several threads at once, for different batches, while another batch is being answered; what it
        returns depends on the requests alone.

        Raises:
            Exception: the batch as a whole failed (a bad image); it is halved and tried again.
        """
        ...

    def reply(self, prepared: Any, seeds: Sequence[int] | None = None) -> Sequence[str | Exception]:
        """Mode `generate`: give one reply per request, in order; none may depend on the others.

        With the argument `temperature` above 0 the judge is called with a seed for each request, and gives the same
        reply for the same request and seed; without, it is called with what was prepared alone.

        A reply is what comes behind `answer_start`. One that ran into a limit ends with `CUT_OFF`; one of which the
        prompt opened a block of thinking begins with that opening mark. In the place of a reply may stand the exception
        that this request alone failed with, for good: it goes on record, and the others keep theirs.

        Raises:
            UserError: no sample could be judged; the phase ends with its sentence.
            Exception: the batch as a whole failed (out of memory); it is halved, prepared and tried again.
        """
        ...

    def check_labels(self, labels: Sequence[str]) -> None:
        """Mode `expected`: called once after loading.

        Raises:
            UserError: a label has no probability of its own, as it is not one token; names it.
        """
        ...

    def label_probabilities(self, prepared: Any, labels: Sequence[str]) -> Sequence[list[float] | Exception]:
        """Mode `expected`: give each label's probability as the next token, for each request in order.

        Returns:
            Per request one probability per label, 0 to 1, together at most 1; NaN where the model gave no numbers; or
            an exception, as in `reply`.

        Raises:
            Exception: as in `reply`.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return facts for the report; the key `note` is repeated in plain sight."""
        ...
