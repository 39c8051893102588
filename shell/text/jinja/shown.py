"""What a rendering must show of its conversation, or be refused: the data as it is, and nothing of unknown origin.

Every text once, whole and in the order of the messages (white space at the edges may go, templates trim); reasoning
whole or not at all; of a call its arguments, and its name or its id; of declarations at least something. Names and ids
of results may be left out: templates without a place for them are common, and the reference's renderers do the same.
"""

from collections.abc import Sequence

from kernel.errors import expected
from shell.text.jinja.pieces import places
from shell.text.jinja.traced import LOST, Run, Traced
from shell.text.jinja.wire import Field


def check_shown(text: Traced, fields: Sequence[Field], at: str) -> None:
    """Refuse a rendering that does not show the data as it is.

    Args:
        text: the rendering.
        fields: the data strings of its conversation, by their number.
        at: where the conversation stands, for errors.

    Raises:
        InputError: naming the message, and what is missing, cut, repeated or out of order.

    >>> from shell.text.jinja.traced import data, written
    >>> check_shown(written("<|user|>") + data(0, " Hi ").strip(), [Field(0, "text", " Hi ")], "$")
    >>> check_shown(written("<|user|>") + data(0, "Hi!")[:2], [Field(0, "text", "Hi!")], "$")
    Traceback (most recent call last):
    kernel.errors.InputError: expected all of the text of message 0, once and as it is, got a part of it - at $
    """
    shown: list[list[Run]] = [[] for _ in fields]
    behind = 0
    for run, start, stop in places(text):
        if run.source == LOST:
            lost = repr(str.__str__(text[start : min(stop, start + 40)]))
            raise expected("text whose origin is known (the template's, or data)", lost, at=at)
        if run.source >= 0:
            shown[run.source].append(run)
            message, name, _ = fields[run.source]
            if name in ("text", "reasoning") and message < behind:
                raise expected("messages in their order", f"message {message} behind message {behind}", at=at)
            behind = message if name in ("text", "reasoning") else behind
    declared = [bool(runs) for runs, field in zip(shown, fields, strict=True) if field.name == "tool"]
    if declared and not any(declared):
        raise expected("no tool declarations (the template does not write them)", "some", at=at)
    for source, (runs, field) in enumerate(zip(shown, fields, strict=True)):
        has_id = source > 0 and fields[source - 1].name == "id" and bool(shown[source - 1])
        if _is_due(field, bool(runs), has_id):
            _check_whole(runs, field, at)


def _is_due(field: Field, is_shown: bool, has_id: bool) -> bool:
    match field.name:
        case "text" | "call":
            return True
        case "reasoning":
            return is_shown
        case "callee":
            return not has_id
        case _:
            return False


def _check_whole(runs: list[Run], field: Field, at: str) -> None:
    """The runs show the whole string from its first character on; those of a call may show it again."""
    what = "call" if field.name == "callee" else field.name
    due = f"all of the {what} of message {field.message}, once and as it is"
    seen = 0
    for run in runs:
        if seen and not field.text[seen:].strip():
            if what == "call":
                return
            raise expected(due, "it repeated", at=at)
        if run.start != seen and (seen or field.text[: run.start].strip()):
            raise expected(due, "a part of it", at=at)
        seen = run.stop
    if field.text[seen:].strip():
        raise expected(due, "a part of it" if runs else "nothing of it", at=at)
