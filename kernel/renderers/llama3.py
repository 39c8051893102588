"""Llama 3 Instruct, without tools: its calls are bare JSON, like an answer that is JSON.

The dates that Meta's own template puts in front of the system message are left out, as in the reference.
"""

from functools import partial

from kernel.parse_response.common import parse_plain
from kernel.renderer_language.pieces import Header, Renderer, Sampled, Text


def _header(role: str) -> Header:
    return Header(f"<|start_header_id|>{role}<|end_header_id|>\n\n")


LLAMA3 = Renderer(
    "llama3",
    {
        role: (_header(role), Text(), Sampled("<|eot_id|>"))
        for role in ("system", "developer", "user", "assistant", "tool")
    },
    cue=(_header("assistant"),),
    stops=("<|eot_id|>",),
    parse=partial(parse_plain, stop="<|eot_id|>"),
    controls=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    bos="<|begin_of_text|>",
)

FORMATS = (LLAMA3,)
