"""An editor behind a server with `/v1/images/edits`: OpenAI's, vLLM-Omni's, SGLang's, or another of that shape."""

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from editbench.config.annotations import Count, CountOrZero
from editbench.config.schema import Positive, SourceConfig
from editbench.editors.size import keep_shape
from editbench.errors import InvalidOutputError, ServerError, UserError
from editbench.http_json import Limits, RequestError, Server
from editbench.images import decode_rgb, encode_png
from editbench.server_address import check_address
from editbench.text import printable

_OWN_FIELDS = ("model", "prompt", "image", "image[]", "size", "seed", "n", "stream")

_NO_SEED = "The server is sent no seed: made anew, every picture is another one."

logger = logging.getLogger(__name__)


class ImagesEditsEditor:
    """Asks a server for each edit, for several at a time.

    Args:
        device: Not used; the server has its own.
        base_url: What `/images/edits` is put behind, such as `https://api.openai.com/v1`.
        model: Name that the server knows the model by. The model itself is not known here: it is the user's word.
        api_key_env: Environment variable with the key; None, or one that is not set: no key is sent.
        send_seed: Whether a sample's seed is sent, as a field `seed`, which not every server takes.
        size: `keep` (the source's shape, of several the first one's, at `area`), or what is sent as it is, such as
            `auto` or `1024x1536`; None: nothing is sent, and the server chooses.
        area: Pixels of the edited image, for `keep`.
        multiple: Height and width are multiples of it in pixels, for `keep`.
        fields: More fields of the form, such as `num_inference_steps` or `quality`.
        concurrency: Edits that a rank asks for at a time.
        timeout_s: Seconds within which an edit must be there.
        max_retries: How often a request is sent again.

    Raises:
        ServerError: nobody answers there, or the key is refused.
    """

    uses_gpu = False

    def __init__(
        self,
        device: str,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        send_seed: bool = False,
        size: str | None = None,
        area: Count = 1024 * 1024,
        multiple: Count = 16,
        fields: dict[str, Any] | None = None,
        concurrency: Count = 4,
        timeout_s: Positive = 300.0,
        max_retries: CountOrZero = 5,
    ) -> None:
        self._server = Server(base_url, api_key_env, Limits(timeout_s, max_retries, concurrency), "editor")
        self.concurrency = concurrency
        self._base_url, self._model, self._send_seed = base_url, model, send_seed
        self._size, self._area, self._multiple, self._fields = size, area, multiple, fields or {}
        self._find_server()

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check the arguments as far as that needs no server.

        Raises:
            UserError: one of them is wrong.
        """
        check_address(kwargs["base_url"], kwargs.get("api_key_env"), "editor")
        if not str(kwargs["model"]).strip():
            raise UserError("editor.model is empty; give the name that the server knows the model by")
        size = kwargs.get("size")
        if size not in (None, "auto", "keep") and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            raise UserError(f"editor.size={size!r}: must be keep, auto, width x height such as 1024x1536, or null")
        if own := [name for name in kwargs.get("fields") or {} if name in _OWN_FIELDS]:
            raise UserError(f"editor.fields.{own[0]}: is set for every sample, or a setting of its own; remove it")

    @property
    def waited_s(self) -> float:
        """Seconds that edits of the calling thread have waited to be sent."""
        return self._server.waited_s

    def stop_when(self, stopping: Callable[[], bool]) -> None:
        """Let no edit wait to be sent once this gives true."""
        self._server.stop_when(stopping)

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Ask for one edit; see `Editor.edit` and `edit_several`."""
        return self.edit_several([source], instruction, seed, on_step)

    @staticmethod
    def most_source_images(kwargs: dict[str, Any]) -> int | None:
        """Any number that the server takes; it says so where there are too many."""
        return None

    def edit_several(
        self, sources: Sequence[Image.Image], instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Ask for one edit of one or several images, which are sent as files of one form.

        Raises:
            ServerError: no edit would be answered.
            RequestError: this one was not, or refused.
            StoppedError: it would have to wait, and the phase is stopping.
            ValueError: the answer holds no picture.
            InvalidOutputError: it has another size than asked for.
        """
        form = {"model": self._model, "prompt": instruction, "n": 1, **self._fields}
        if size := self._size_for(sources[0]):
            form["size"] = size
        if self._send_seed:
            form["seed"] = seed
        answer = self._server.post(
            "/images/edits",
            data={name: _form_value(value) for name, value in form.items() if value is not None},
            files=_files(sources),
        )
        image = decode_rgb(_picture(answer), SourceConfig())
        made = f"{image.width}x{image.height}"
        if size not in (None, "auto", made):
            raise InvalidOutputError(f"the server returned {made} pixels, asked for were {size}")
        on_step(1, 1)
        return image

    def describe(self) -> dict[str, Any]:
        """Where edits are asked for, and as what."""
        described = {
            "class": type(self).__name__,
            "host": self._server.host,
            "model": self._model,
            "fields": self._fields,
            "retries_of_rank_0": self._server.retries,
        }
        return described if self._send_seed else described | {"note": _NO_SEED}

    def _size_for(self, source: Image.Image) -> str | None:
        if self._size != "keep":
            return self._size
        height, width = keep_shape(source, self._area, self._multiple)
        return f"{width}x{height}"

    def _find_server(self) -> None:
        """Ask what models there are: a server that is not there, or refuses the key, shows before a run has begun."""
        try:
            listed = self._server.get("/models")
        except RequestError as error:
            name = f"editor.base_url={self._base_url}"
            if error.unreachable:
                raise ServerError(
                    f"{name}: nobody answers ({error}); start the server there, or correct the address"
                ) from None
            if error.status == 401:
                raise ServerError(
                    f"{name}: the server wants another key ({error}); put it into the environment variable that "
                    "editor.api_key_env names"
                ) from None
            return  # not every server has such a list
        models = listed.get("data") if isinstance(listed, dict) else None
        names = [str(one.get("id")) for one in models if isinstance(one, dict)] if isinstance(models, list) else []
        if names and self._model not in names:
            some = printable(", ".join(names[:8]))
            logger.warning("editor.model=%s is none of the models that the server lists: %s", self._model, some)


def _files(sources: Sequence[Image.Image]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """The files of a form: one as `image`, several as `image[]` each, in order."""
    if len(sources) == 1:
        return [("image", ("image.png", encode_png(sources[0]), "image/png"))]
    return [
        ("image[]", (f"image{number}.png", encode_png(source), "image/png"))
        for number, source in enumerate(sources, start=1)
    ]


def _form_value(value: Any) -> str:
    """A field as it stands in a form: text as it is, all else as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _picture(answer: Any) -> bytes:
    """The encoded picture in an answer.

    Raises:
        ValueError: there is none.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    if isinstance(first.get("b64_json"), str):
        try:
            return base64.b64decode(first["b64_json"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"the server's b64_json is no base64: {error}") from error
    if first.get("url"):
        raise ValueError(
            "the server answered with an address in place of a picture; ask for one with "
            "+editor.fields.response_format=b64_json"
        )
    raise ValueError(f"the server's answer holds no picture: {printable(json.dumps(answer))[:300]}")
