"""What passes between the phases: Sample, Edit, Judgment, Measurement, and the tasks to make them.

Plain data; imports nothing of ours.

Every planned sample is at any time in exactly one `State`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal[
    "pending",  # planned, not edited yet
    "edited",  # has an edited image, not judged yet
    "edit_failed",  # the source could not be read or the editor raised
    "invalid_output",  # the editor returned NaN, a wrong size or a fully uniform image
    "scored",  # the judge's reply holds a score
    "unparsed",  # the judge answered, but its answer holds no score
    "judge_failed",  # the judge raised on this sample alone
]
FAILURE_STATES: tuple[State, ...] = ("edit_failed", "invalid_output", "unparsed", "judge_failed")

ControlKind = Literal[
    "unchanged",  # the source image as the edit
    "black",  # a black image of the edit's size
    "noise",  # every channel of every pixel drawn from 0 to 255, in the edit's size
    "other_edit",  # the edit of another sample, which has another source image
    "other_instruction",  # the right edit, under the instruction of another sample with another source image
    "again",  # the edit itself, judged a second time
    "swapped",  # the edit itself, shown before its source
]
"""What a judge is shown in place of a sample's edit, to learn whether it can tell."""
WRONG_EDITS: tuple[ControlKind, ...] = ("unchanged", "black", "noise", "other_edit", "other_instruction")
"""Controls that a judge should score below the real edit."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A planned (source image, instruction) pair, without the image itself.

    Attributes:
        index: Position in the plan; results are always reported in this order.
        sample_id: The id as given in the dataset; shown as is, never used as a file name.
        key: Name that is safe in tar shards and file systems, unique in the plan, made from the id alone.
        category: Canonical category, the name of a rubric.
        instruction: What the editor is asked to do.
        description: What the source image shows; goes into the judge's prompt.
        source_sha256: Hex digest of the encoded source image's bytes; of several images that of their digests.
        locator: Where the dataset finds the record again, as its `scan` gave it (for a JSON file: byte offset
            and length).
        extra: What else the dataset says of it, such as its difficulty; decides nothing.
        images_sha256: Hex digest of each source image, in order, where there are several; empty for one.
        follows: Id of the sample before it in a chain, whose edited image is this one's source; None for one with a
            source image of its own. `source_sha256` is then that of the chain's first.
        earlier: Instructions of the samples before it in its chain, the first one's first.
        reference: Path of a picture of a correct result, relative as those of images are; None without one. The judge
            sees it where a criterion wants it, the editor never.
        reference_sha256: Hex digest of that file's bytes; empty without one.
        rewritten: The instruction as the dataset has it rewritten, which the editor is given in place of `instruction`;
            judge and report have the original. None without one.
    """

    index: int
    sample_id: str
    key: str
    category: str
    instruction: str
    description: str
    source_sha256: str
    locator: list[int | str]
    extra: dict[str, Any] = field(default_factory=dict)
    images_sha256: list[str] = field(default_factory=list)
    follows: str | None = None
    earlier: list[str] = field(default_factory=list)
    reference: str | None = None
    reference_sha256: str = ""
    rewritten: str | None = None

    @property
    def for_editor(self) -> str:
        """The instruction that the editor is given."""
        return self.instruction if self.rewritten is None else self.rewritten

    @property
    def turn(self) -> int:
        """Its place in its chain, from 1."""
        return len(self.earlier) + 1

    @property
    def source_images(self) -> int:
        """Number of source images."""
        return len(self.images_sha256) or 1


@dataclass(slots=True)
class Edit:
    """The outcome of editing one sample; `edits/index.jsonl` has one line for each.

    Attributes:
        sample_id: Id of the sample.
        category: Its canonical category.
        state: `edited`, `edit_failed` or `invalid_output`.
        unit: Hex digest of all that decides the pixels (source, instruction, editor, seed); see `identity.py`.
        input: Hex digest of source image and instruction alone, and in a chain of the instructions before; tells
            whether the edit is of the sample as planned.
        seed: Seed of the noise, from the run's seed and the sample id.
        latency_s: Seconds the edit took on its rank, reading the source included, but not what it waited until it
            could be sent to a server; None if it was not started.
        source_width, source_height: Size in pixels of the upright source, the first of several; None if it could not
            be read.
        width, height: Size in pixels of the edited image; None without one.
        sha256: Hex digest of the PNG bytes; None without an image.
        shard: Number of the shard that holds the PNG; None without an image.
        offset, length: Byte range of the PNG inside the shard's tar file; None without an image.
        error_type, error: Class name and message of what went wrong; None if nothing did.
        follows_sha256: In a chain the digest of the edited image that this one was made of; None without.
    """

    sample_id: str
    category: str
    state: State
    unit: str
    input: str
    seed: int
    latency_s: float | None = None
    source_width: int | None = None
    source_height: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    shard: int | None = None
    offset: int | None = None
    length: int | None = None
    error_type: str | None = None
    error: str | None = None
    follows_sha256: str | None = None


@dataclass(slots=True)
class Judgment:
    """The judge's word on one edit; `judgments/<judge>.jsonl` has one line for each.

    Attributes:
        sample_id: Id of the sample.
        category: Its canonical category, the rubric that was used.
        state: `scored`, `unparsed` or `judge_failed`.
        unit: Hex digest of all that decides the reply (edited image, prompts, judge); see `identity.py`.
        image_sha256: Digest of the edited image's PNG bytes that were judged.
        score: 0 to 10, or on the protocol's own scale (`protocol.scale`); None without one, never a default. Of several
            replies (`judge.repeats`) the mean of those that hold one.
        reply: The raw text of the reply, the first of several; None if there was none, as always in mode `expected`.
        completion: What the judge wrote behind a reply without a score and `Score: ` put behind that (prefilled);
            None if the reply was left as it is. The score is then this number.
        label_probabilities: Probability of each label as the next token, 0 to 1, which the three fields below and the
            score follow from; None without one, as always in mode `generate`.
        label: The most likely label.
        label_mass: Probability of all labels together, 0 to 1.
        spread: Standard deviation of the score if a label is drawn by its probability; of several replies that of
            their scores (n - 1 in the denominator). None without a score, or with fewer than two.
        batch_size: Samples that a batch was cut to when it was judged; in bfloat16 a reply can depend on it.
        latency_s: Seconds of the sample's batch divided by the samples in it, preparation and all tries included.
        error_type, error: Class name and message of what went wrong; None if nothing did.
        scores: With `judge.repeats` the score of each reply in order, None for one without; else None.
        replies, completions: With `judge.repeats` `reply` and `completion` of each in order; else None.
        answers: With a protocol of several criteria what each was answered, one entry per repeat, by criterion:
            `reply`, `completion`, the `numbers` read by name (None where not all could be read), and the `error` of a
            request that failed. `reply` and the like are None then. Else None.
        named_scores: With such a protocol its scores by name, None for one that cannot be had; of several repeats the
            mean of those that have it. Else None.
    """

    sample_id: str
    category: str
    state: State
    unit: str
    image_sha256: str
    score: float | None = None
    reply: str | None = None
    completion: str | None = None
    label_probabilities: dict[str, float] | None = None
    label: str | None = None
    label_mass: float | None = None
    spread: float | None = None
    batch_size: int | None = None
    latency_s: float | None = None
    error_type: str | None = None
    error: str | None = None
    scores: list[float | None] | None = None
    replies: list[str | None] | None = None
    completions: list[str | None] | None = None
    answers: list[dict[str, dict[str, Any]]] | None = None
    named_scores: dict[str, float | None] | None = None


@dataclass(slots=True)
class Control(Judgment):
    """The judge's word on what it was shown in place of an edit; never part of a sample's score.

    `judgments/controls/<judge>.jsonl` has one line for each. `image_sha256` is that of the edit that the control was
    made from: of the sample's own, but for `other_edit`.

    Attributes:
        control: What it was shown.
        compared_with: Unit of the judgment of the sample's real edit that it is to be held against.
        other: Id of the sample whose edit or instruction was taken; None if none was.
    """

    control: ControlKind | Literal[""] = ""
    compared_with: str = ""
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the pixels of an edit say; a line of `pictures.jsonl`, which can be made again from the pictures.

    Attributes:
        source_sha256, image_sha256: Hex digests of the files that were compared, of source and edited image. Of several
            source images it is that of all, and the figures are of the first.
        version: Of the measures, and of the metric if there is one.
        pixels: As `measure` in analysis/pixels.py gives them, and with a metric its figures under `metrics`.
        sample_id: What figures depend on beside the pictures: with a metric the sample's id, with a mask `mask` and the
            digest of its file; else empty.
    """

    source_sha256: str
    image_sha256: str
    version: str
    pixels: dict[str, Any]
    sample_id: str = ""


@dataclass(frozen=True, slots=True)
class EditTask:
    """One edit to be made.

    Attributes:
        sample: What is edited.
        seed: Seed of its noise.
        unit: What the edit will count as.
        before: In a chain the edit that this one follows; None without, and where that is still to be made.
    """

    sample: Sample
    seed: int
    unit: str
    before: Edit | None = None


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """One judgment to be made.

    Attributes:
        sample, edit: What is judged.
        unit: What the judgment will count as.
        length: Estimate of the tokens that the judge reads beside the rubric; for ordering.
        place: Position by length among all samples of the category that have an edited image; of a control its
            position among the category's controls.
        control: What is shown in place of the edit; empty where the edit itself is judged.
        compared_with, other: As in `Control`.
        before: In a chain the edit whose image is the source; None without.
    """

    sample: Sample
    edit: Edit
    unit: str
    length: int
    place: int
    control: ControlKind | Literal[""] = ""
    compared_with: str = ""
    other: str | None = None
    before: Edit | None = None

    def judgment(self, state: State) -> Judgment:
        """Begin the judgment that this task is to bring: a `Control` if it is one."""
        known = (self.sample.sample_id, self.sample.category, state, self.unit, self.edit.sha256 or "")
        if not self.control:
            return Judgment(*known)
        return Control(*known, control=self.control, compared_with=self.compared_with, other=self.other)


_WHERE_THERE_ARE_ANY = (
    "images_sha256",
    "follows",
    "earlier",
    "follows_sha256",
    "reference",
    "reference_sha256",
    "rewritten",
)


def to_dict(record: Sample | Edit | Judgment | Measurement) -> dict[str, Any]:
    """Return the record's fields as a dict in their declared order, ready for JSON; some only if they hold anything."""
    fields = dataclasses.asdict(record)
    return {name: value for name, value in fields.items() if value or name not in _WHERE_THERE_ARE_ANY}
