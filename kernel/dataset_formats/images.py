"""Images that a row lists beside its messages, put where the text says `<image>` (LLaVA, LLaMA-Factory, TRL)."""

from collections.abc import Iterator, Mapping
from typing import Any

from kernel.dataset_formats.row_messages import Row, Turns, from_json, said
from kernel.errors import expected, problem
from kernel.json_values import kind_of
from kernel.row_keys import holds

KEYS = ("images", "image")
MARK = "<image>"


def place_images(row: Row, turns: Turns) -> None:
    """Puts the images of a row into its messages, in order; there must be a place for each, and no place more."""
    key = next((key for key in KEYS if holds(row.get(key))), "")
    if not key:
        return
    turns.used |= set(KEYS)
    value = from_json(row[key])
    listed = value if isinstance(value, list) else [value]
    sources = [_source(image, key, *([k] if listed is value else [])) for k, image in enumerate(listed)]
    n_places = sum(1 for message in turns.messages for _ in _places(message))
    if n_places != len(sources):
        places = f"{n_places} place{'s' * (n_places != 1)}"
        raise expected(
            f"as many images as there are places for one ({MARK} in the text)",
            f"{len(sources)} for {places}",
            path=(key,),
        )
    left = iter(sources)
    turns.messages = [_with_images(message, left) if any(_places(message)) else message for message in turns.messages]


def _with_images(message: Mapping[str, Any], sources: Iterator[str]) -> dict[str, Any]:
    key = "content" if "content" in message else "value"
    return {**message, key: _filled(message[key], sources)}


def _source(image: object, *path: str | int) -> str:
    if isinstance(image, str):
        return image
    if isinstance(image, Mapping):
        if image.get("bytes"):
            raise problem(
                "the bytes of an image in a table are not read: save it as a file and give its path", path=path
            )
        for key in ("path", "url"):
            if isinstance(image.get(key), str):
                return str(image[key])
    raise expected("the path of an image", kind_of(image), path=path)


def _places(message: Any) -> Iterator[bool]:
    content = said(message)
    for part in [content] if isinstance(content, str) else content if isinstance(content, list) else []:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            yield from [True] * text.count(MARK)
        elif _is_empty_place(part):
            yield True


def _is_empty_place(part: Any) -> bool:
    """Whether a part is an image without its source, as TRL's `{"type": "image"}`."""
    return (
        isinstance(part, Mapping)
        and part.get("type") == "image"
        and not any(holds(part.get(k)) for k in part if k != "type")
    )


def _filled(content: Any, sources: Iterator[str]) -> list[Any]:
    parts: list[Any] = []
    for part in [content] if isinstance(content, str) else content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if _is_empty_place(part):
            parts.append({"type": "image", "image": next(sources)})
        elif isinstance(text, str) and MARK in text:
            rest = {} if isinstance(part, str) else part
            for k, piece in enumerate(text.split(MARK)):
                parts += [{"type": "image", "image": next(sources)}] if k else []
                parts += [{**rest, "type": "text", "text": piece}] if piece else []
        else:
            parts.append(part)
    return parts
