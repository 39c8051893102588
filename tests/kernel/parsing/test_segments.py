"""How a sampled turn ended."""

import pytest

from kernel.chat_format.elements import SpanKind
from kernel.parsing.segments import Segment, control, ended

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
