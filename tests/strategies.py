"""What the property tests draw from: conversations of any shape that the readers accept."""

import json

from hypothesis import strategies as st

from kernel.conversation import Conversation, Message, Part, ToolCall, ToolSpec
from kernel.renderers import RENDERERS

CONTROLS = sorted({name for renderer in RENDERERS.values() for name in renderer.controls})

words = st.text(st.characters(codec="utf-8"), max_size=12)
spelled = st.sampled_from([*CONTROLS, "User:", "\n\nUser:", "<think>", "</think>", "\n", " "])
"""text that looks like framing"""
texts = st.lists(words | spelled, max_size=4).map("".join)
names = texts.filter(bool)
arguments = st.dictionaries(names, texts | st.integers() | st.none() | st.lists(texts, max_size=2), max_size=3).map(
    json.dumps
)
calls = st.tuples(names, arguments, texts).map(ToolCall._make)
properties = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "array"])},
    optional={"description": texts, "enum": st.lists(texts, min_size=1, max_size=2), "default": texts},
)
parameters = st.dictionaries(names, properties, max_size=2).map(lambda some: {"type": "object", "properties": some})
tools = st.tuples(names, texts, st.none() | parameters).map(
    lambda spec: ToolSpec(
        spec[0],
        json.dumps({"name": spec[0], "description": spec[1]} | ({"parameters": spec[2]} if spec[2] else {})),
    )
)


@st.composite
def assistants(draw: st.DrawFn, reasons: bool = True, calls_tools: bool = True) -> Message:
    said = draw(texts)
    content: str | tuple[Part, ...] = said
    if reasons and draw(st.booleans()):
        thought = Part("thinking", draw(names))
        content = (thought, Part("text", said)) if said else (thought,)
    made = tuple(draw(st.lists(calls, max_size=2))) if calls_tools and draw(st.booleans()) else ()
    return Message("assistant", content, made)


@st.composite
def conversations(draw: st.DrawFn, reasons: bool = True, calls_tools: bool = True, max_size: int = 6) -> Conversation:
    """Messages in any order; with tools declared at times where the format has a way to."""
    others = st.tuples(st.sampled_from(["user", "user", "system"]), texts, st.just("") | names).map(
        lambda said: Message(said[0], said[1], name=said[2])
    )
    results = st.tuples(texts, names, names).map(lambda r: Message("tool", r[0], name=r[1], tool_call_id=r[2]))
    kinds = [others, assistants(reasons, calls_tools)] + ([results] if calls_tools else [])
    talk = tuple(draw(st.lists(st.one_of(*kinds), min_size=1, max_size=max_size)))
    if calls_tools and talk[0].role == "system" and draw(st.booleans()):
        talk = (talk[0]._replace(tools=tuple(draw(st.lists(tools, min_size=1, max_size=2)))), *talk[1:])
    return talk


def any_trainable(talk: Conversation) -> st.SearchStrategy[Conversation]:
    """The conversation with a `trainable` field on every message."""
    flags = st.lists(st.booleans(), min_size=len(talk), max_size=len(talk))
    return flags.map(lambda on: tuple(m._replace(trainable=t) for m, t in zip(talk, on, strict=True)))
