"""Editors: anything that changes an image as an instruction says.

A new editor is a class with this shape, named by `_target_` in a YAML under `conf/editor/`; its constructor takes
`device` (such as `cuda:0` or `cpu`) and the YAML's keyword arguments, and loads the model. Heavy imports belong
into the constructor: the class is imported to check the configuration before anything is loaded. A value that does not
fit its argument's annotation is refused then, and a static method `check_settings(kwargs)`, if there is one, can raise
a UserError about more. An argument named `checkpoint` (with `revision`) is resolved to a local folder first and counts
by its content; so is `lora`, a dict with `path`, `weight_name` and, if wanted, `revision`.

A class that says `uses_gpu = False` is given `cpu`, and there may be more processes than GPUs. Where other things than
the arguments decide an edit, a static method `stands_for_arguments(kwargs, sample)` gives what counts in their place,
as plain data; None if that is not known on this machine.

An editor that does its work elsewhere can say by an attribute `concurrency` how many edits it is asked for at a time;
above 1 its methods are called from as many threads. If it has a method `stop_when(stopping)`, it is given a function
that tells whether the phase is stopping: then an edit that would have to wait for long raises `StoppedError`, and is
left for the next start. By an attribute `waited_s`, the seconds that the calling thread has waited so far, what an edit
waits is taken off its seconds.

A sample can have several source images. An editor takes one unless a static method `most_source_images(kwargs)` says
how many it takes with these arguments (None: any number); it then has the method `edit_several` as well.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from PIL import Image

from editbench.run.records import Sample


class Editor(Protocol):
    """Edits one image at a time."""

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Edit an image.

        Args:
            source: Mode RGB, upright, any size.
            instruction: What to change.
            seed: Seed of the noise, 0 to 2**32 - 1; the same seed must give the same picture on any rank.
            on_step: To be called with (steps done, steps in all) while working.

        Returns:
            Mode RGB.

        Raises:
            InvalidOutputError: the output holds NaN or has another size than asked for.
            ServerError: the editor is a server, and will answer no other sample either; ends the run.
            StoppedError: the edit would have to wait, and the phase is stopping.
            Exception: anything else; the sample is recorded as failed and the run goes on.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return facts for the report; the key `note` is repeated in plain sight."""
        ...


class TakesSeveral(Editor, Protocol):
    """Edits with several source images too."""

    def edit_several(
        self, sources: Sequence[Image.Image], instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Make one image of several, as `edit` does of one.

        Args:
            sources: Two or more, in the order in which the instruction counts them, each mode RGB, upright, any size.
                Where the shape of the edited image follows a source, it follows the first.
            instruction, seed, on_step: As for `edit`, and so are what is returned and raised.
        """
        ...


class AsksAtOnce(Editor, Protocol):
    """Is asked for several edits at a time, from as many threads.

    Attributes:
        concurrency: How many, 1 or more.
    """

    concurrency: int


class HasPictures(Protocol):
    """Has edited images already, in place of making them."""

    def picture_of(self, sample: Sample) -> Image.Image:
        """Return a sample's edited image, mode RGB.

        Raises:
            Exception: there is none; the sample is recorded as failed and the run goes on.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return facts for the report; the key `note` is repeated in plain sight."""
        ...
