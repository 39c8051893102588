"""ChatML, the framing that Qwen and Nemotron share: a turn stands between `<|im_start|>role` and `<|im_end|>`.

Turns are separated by a newline that belongs to the header of the next. These are the pieces that several families are
written with, and no renderer of its own: what a family does with reasoning, calls and results stands in its module.
"""

from kernel.chat_format.pieces import Condition, Header, Row, Sampled, Text

LINE = Header("\n", unless=(Condition.FIRST,))
END = Sampled("<|im_end|>")
CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
)

IMAGE = "<|vision_start|>{}<|vision_end|>"
"""How the models of this framing that see are shown an image."""
VISION = ("<|vision_start|>", "<|vision_end|>")


def header(role: str) -> Row:
    """What opens a message of this role."""
    return LINE, Header(f"<|im_start|>{role}\n")


def turn(role: str) -> Row:
    """A message of text alone."""
    return *header(role), Text(), END
