"""How a sampled turn ended, and turns that are text alone."""

import pytest

from kernel.parse_response.common import Segment, control, ended, parse_plain, parse_role_colon, parse_text
from kernel.renderer_language.interpreter import SpanKind

TEXT, STOP, EOS = Segment(SpanKind.MESSAGE, "4"), control("<|im_end|>"), control("<eos>")


@pytest.mark.parametrize(
    ("sampled", "termination"),
    [
        ([TEXT, STOP], "stop_sequence"),
        ([TEXT, EOS], "eos"),
        ([TEXT], "malformed"),
        ([], "malformed"),
        ([TEXT, STOP, STOP], "malformed"),
        ([TEXT, Segment(SpanKind.MESSAGE, "<|im_end|>")], "malformed"),
    ],
)
def test_one_stop_token_ends_a_turn(sampled: list[Segment], termination: str) -> None:
    body, found = ended(sampled, "<|im_end|>", eos="<eos>")
    assert (found, found.is_clean) == (termination, termination != "malformed")
    assert list(body) == [segment for segment in sampled if segment not in (STOP, EOS)]


def text(text: str) -> Segment:
    return Segment(SpanKind.MESSAGE, text)


@pytest.mark.parametrize(
    ("sampled", "content", "termination"),
    [
        ([text(" 4\n\nUser:")], "4", "stop_sequence"),
        ([text(" 4\n\n"), EOS], "4", "eos"),
        ([text(" 4")], "4", "malformed"),
        ([text(" 4\n\nUser: 5\n\nUser:")], "4", "malformed"),
        ([text(" 4\n\nUser:"), EOS], "4", "malformed"),
        ([], "", "malformed"),
    ],
)
def test_role_colon_ends_with_the_next_header_or_with_eos(
    sampled: list[Segment], content: str, termination: str
) -> None:
    parsed = parse_role_colon(sampled)
    assert (parsed.message.content, parsed.termination) == (content, termination)


def test_text_ends_with_eos() -> None:
    assert parse_text([text("4 "), EOS]) == parse_text([text("4 ")])._replace(termination="eos")
    assert parse_text([text("4 "), EOS]).message.content == "4 "


def test_plain_text_ends_with_its_stop_token() -> None:
    parsed = parse_plain([text("4"), control("<a>"), text("2"), EOS, text("5")], "<eos>")
    assert (parsed.message.content, parsed.termination) == ("4<a>2", "stop_sequence")
