"""Qwen3-VL: Qwen3's format without the padded block of reasoning, and with a newline before calls at all times.

Reasoning is written as it is, on the last message alone; the Instruct models write none and take it off nowhere else.
"""

from dataclasses import replace
from functools import partial

from kernel.chat_format.pieces import Calls, Condition, Content, Reasoning, Sampled, Text
from kernel.formats.chatml import END, IMAGE, VISION, header
from kernel.formats.qwen3 import QWEN3_INSTRUCT
from kernel.formats.tool_syntax.hermes import read_json_call, write_json_call
from kernel.image_tokens import qwen_tokens
from kernel.parsing.blocks import parse_blocks

QWEN3_VL_INSTRUCT = replace(
    QWEN3_INSTRUCT,
    name="qwen3_vl_instruct",
    rows={
        **QWEN3_INSTRUCT.rows,
        "assistant": (
            *header("assistant"),
            Content((Reasoning("<think>{}</think>"), Text())),
            Sampled("\n", when=(Condition.HAS_CALLS,)),
            Calls(write_json_call, join="\n"),
            END,
        ),
    },
    controls=(*QWEN3_INSTRUCT.controls, *VISION),
    image=IMAGE,
    image_tokens=qwen_tokens,
)

QWEN3_VL = replace(
    QWEN3_VL_INSTRUCT,
    name="qwen3_vl",
    parse=partial(parse_blocks, stop="<|im_end|>", read_call=read_json_call, framed=True),
)
