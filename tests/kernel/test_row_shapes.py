"""ROW_SHAPES.md: the messages below each row are those that are read from it."""

import json
import re
from pathlib import Path

import pytest

from kernel.conversation import Message, parts_of
from kernel.dataset_formats import KEYS, RowReader
from kernel.dataset_formats.dataset_map import read_map
from kernel.enums import UnknownKeys
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation

PAGE = (Path(__file__).parents[2] / "kernel" / "ROW_SHAPES.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^```json(.*)\n(\{.*\})\n```\n```(messages|refused)\n((?:.+\n)+?)```$", re.MULTILINE)
EXAMPLES = EXAMPLE.findall(PAGE)


def shown(message: Message) -> str:
    """A message as the page shows it."""
    said = [f"[image {part.text}]" if part.kind == "image" else part.text for part in parts_of(message)]
    calls = [f"[call {call.name} {call.arguments}]" for call in message.tool_calls]
    tools = [f"[tools: {', '.join(tool.name for tool in message.tools)}]"] if message.tools else []
    return f"{message.role}: " + " ".join(filter(None, ["".join(said).replace("\n", "\\n"), *calls, *tools]))


def reader(flags: str) -> RowReader:
    words = flags.split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    return RowReader(
        given.get("--dataset-format", "auto"),
        dataset_map=read_map(given["--dataset-map"]) if "--dataset-map" in given else None,
        unknown_keys=UnknownKeys(given.get("--unknown-keys", "refuse")),
    )


@pytest.mark.parametrize(("flags", "row", "kind", "expected"), EXAMPLES)
def test_the_messages_below_a_row_are_those_that_are_read(flags, row, kind, expected):
    def read() -> str:
        return "\n".join(map(shown, read_conversation(reader(flags).read(json.loads(row)))))

    if kind == "messages":
        assert read() == expected.rstrip("\n")
    else:
        with pytest.raises(InputError) as error:
            read()
        assert str(error.value) == expected.strip()


def test_every_shape_has_a_section_and_every_row_of_the_page_runs():
    assert set(re.findall(r"^## ([a-z_]+)$", PAGE, re.MULTILINE)) == set(KEYS)
    assert len(EXAMPLES) == PAGE.count("```json")
