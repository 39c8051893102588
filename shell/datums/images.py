"""Images of conversations: read, measured and, where a service could not read them, converted.

An image is named by a path, a `file://` or a `data:` URI; network addresses are refused, since a run should not depend
on them. PNG and JPEG are sent as they are. Pillow (`pip install 'tinsmith[images]'`) reads the sizes and all else.
"""

import base64
import binascii
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlparse

import numpy as np
from numpy.typing import NDArray

from kernel.errors import InputError, expected
from kernel.renderer_language.pieces import Renderer

Format = Literal["png", "jpeg"]
_FORMATS: dict[str | None, Format] = {"PNG": "png", "JPEG": "jpeg"}
_SENT_UNCHANGED = ("RGB", "L")


class Image(NamedTuple):
    """An image to send: its bytes and their format, and its size in pixels."""

    data: bytes
    format: Format
    height: int
    width: int


@lru_cache(maxsize=2048)
def read_image(name: str) -> Image:
    """The image of a name, cached: each is read when its row is rendered and again when it is sent."""
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise InputError("images are read with Pillow: pip install 'tinsmith[images]'") from None
    raw = _bytes(name)
    try:
        with Pillow.open(io.BytesIO(raw)) as picture:
            picture.load()
            sent = _FORMATS.get(picture.format)
            if sent is None or picture.mode not in _SENT_UNCHANGED:
                converted = io.BytesIO()
                picture.convert("RGB").save(converted, "PNG")
                raw, sent = converted.getvalue(), "png"
            return Image(raw, sent, picture.height, picture.width)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise expected("an image", f"what Pillow cannot read ({error})", at=_shown(name)) from None


def image_lengths(names: Sequence[str], renderer: Renderer) -> NDArray[np.int64]:
    """The number of tokens of each image, int64[len(names)]."""
    if not names:
        return np.zeros(0, np.int64)
    if renderer.image_tokens is None:
        raise expected("a model whose count of image tokens is known", renderer.name, at="--renderer-name")
    images = [read_image(name) for name in names]
    return np.array([renderer.image_tokens(image.height, image.width) for image in images], np.int64)


def _bytes(name: str) -> bytes:
    parsed = urlparse(name)
    if parsed.scheme == "data":
        head, _, body = name.partition(",")
        try:
            return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise expected("a data: URI", f"one that is not ({error})", at=_shown(name)) from None
    if len(parsed.scheme) > 1 and parsed.scheme != "file":
        raise expected("an image by path, file:// or data: URI", f"an address ({parsed.scheme}:)", at=_shown(name))
    path = Path(unquote(parsed.path) if parsed.scheme == "file" else name).expanduser()
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise expected("an image file", getattr(error, "strerror", None) or str(error), at=_shown(name)) from None


def _shown(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."
