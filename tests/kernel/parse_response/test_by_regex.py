"""Control tokens as marks, and the calls that a pattern reads between them."""

import re

from kernel.conversation import Message, Part, ToolCall
from kernel.parse_response.by_regex import (
    MARKS,
    PLAIN,
    Read,
    left_open,
    marked,
    parse_sections,
    read_matches,
    read_section,
    unmarked,
)
from kernel.parse_response.common import BadCall, Segment, control, spelled
from kernel.renderer_language.interpreter import SpanKind

NAMES = ("<s>", "</s>", "<c>", "<sep>", "</c>")


def segments(text: str) -> list[Segment]:
    """`@i` is control token i."""
    pieces = re.split(r"@(\d)", text)
    made = [control(NAMES[int(p)]) if i % 2 else Segment(SpanKind.MESSAGE, p) for i, p in enumerate(pieces)]
    return [segment for segment in made if segment.text]


def test_a_mark_is_a_token_and_spelled_text_is_text() -> None:
    text = marked([Segment(SpanKind.MESSAGE, "<s>"), control("<s>"), control("<other>")], NAMES)
    assert text == f"<s>{MARKS[0]}<other>"
    assert unmarked(text, NAMES) == "<s><s><other>"
    assert re.fullmatch(PLAIN, text) is None


def test_matches_are_calls_or_reported_and_the_rest_is_left() -> None:
    def read_call(name: str) -> ToolCall | str:
        return ToolCall(name, "{}") if name else "expected a name"

    read = read_matches(
        re.compile(f"{MARKS[0]}(.?){MARKS[1]}"), marked(segments("a@0f@1b@0@1"), NAMES), NAMES, read_call
    )
    assert read == Read("ab", (ToolCall("f", "{}"),), (BadCall("<s></s>", "expected a name"),))


def test_a_call_that_nothing_ends_is_reported_from_its_first_mark_on() -> None:
    text = marked(segments("4@0add"), NAMES)
    assert left_open(text, NAMES, "</s>") == (BadCall("<s>add", "expected </s>, got the end of the turn"),)
    assert left_open("4", NAMES, "</s>") == ()


def test_a_section_holds_calls_and_what_is_none_is_reported() -> None:
    read = read_section(segments("Wait.@0@2add@3{}@4and@1."), NAMES, ToolCall)
    assert (read.text, read.calls) == ("Wait..", (ToolCall("add", "{}"),))
    assert read.bad_calls == (BadCall("and", "expected <c>...<sep>...</c>, got something else"),)


def test_reasoning_that_the_prompt_opened_is_closed_by_the_turn() -> None:
    def read_calls(run: list[Segment]) -> Read:
        return Read(spelled(run))

    turn = [Segment(SpanKind.MESSAGE, "hm"), control("</think>"), Segment(SpanKind.MESSAGE, "4"), control("<|user|>")]
    parsed = parse_sections(turn, ["<|user|>"], read_calls, opened=True)
    assert parsed.message == Message("assistant", (Part("thinking", "hm"), Part("text", "4")))
    assert parse_sections(turn, ["<|user|>"], read_calls).message == Message("assistant", "hm</think>4")
