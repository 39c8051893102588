"""The questions whose answers are recorded: hand-written and random conversations of our own, for every renderer."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.golden.cases import CASES, CLOCK, TOOLS, call, result, says, system, thinks, user
from tests.parity import test_inkling
from tests.parity.conversations import conversation, text, with_trainable
from tests.parity.ours import MODES, NAMES, SEEING, TOKENIZER, Question, render
from tests.parity.test_cookbook import FAMILIES, NEEDS_SYSTEM, NEEDS_WORDS, NO_CUSTOMIZED, speaking, with_system
from tests.parity.test_inkling import plain, shortened
from tests.parity.test_tools_and_parsing import sampled_turns, talk_for, tools_for

Row = dict[str, Any]

GROUPS = {  # family: how the names of its renderers begin, the longer beginnings first
    **{"qwen3_vl": "qwen3_vl", "qwen3_5": "qwen3_5", "qwen3_8": "qwen3_8", "qwen3": "qwen3"},
    **{"role_colon": "role_colon", "llama3": "llama3", "nemotron3": "nemotron3", "gpt_oss": "gpt_oss"},
    **{"kimi_k3": "kimi_k31", "kimi_k2": "kimi_k2", "deepseek_v3": "deepseekv3", "deepseek_v4_1": "deepseekv4_1"},
    **{"glm5_3": "glm5_3", "inkling": "tml_v0"},
}
UNASKED = ("text",)
"""no chat format: the reference has none such"""
N_RANDOM = 24
N_TOOLS = 12
N_SAMPLED = 16
INKLING_MODES = ("all_assistant_messages", "last_assistant_turn", "last_assistant_message", "customized")

_ADD = call("add", '{"a": 1, "b": -2.5, "é": "ü", "list": [1, [2, {}]], "s": "  indented\\n\\tcode\\n"}', 4)
_SIZES = ("64x48", "640x480", "10x10", "1000x40", "33x4097")


def image(size: str) -> dict[str, str]:
    return {"type": "image", "image": size}


def shows(*parts: Row | str) -> Row:
    """A user's message of images and texts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


HAND_WRITTEN: dict[str, Row] = {
    **{name: row for name, row in CASES.items() if name not in ("spelled controls", "an image")},
    "unicode": {
        "messages": [
            system("Ünï — ﬁ①"),
            user("你好，世界！こんにちは 🙂👩‍👩‍👧"),
            says("नमस्ते مرحبا e\u0301 é \u200b\u00a0."),
        ]
    },
    "line ends": {"messages": [user("a\r\nb\rc\u2028d\n\n\n\ne"), says("\tx\n\n\n  y\v\f z")]},
    "long runs": {"messages": [user(" " * 40 + "x" + "\n" * 12), says("-" * 70 + "\n" + "=" * 33 + "1234567890" * 3)]},
    "code": {
        "messages": [user("Fix it."), says("```python\ndef f(x):\n    return {'a': [x, None]}\n```\n\nDone: `f(1)`.")]
    },
    "almost control tokens": {
        "messages": [system("<|im_strat|> <s>"), user("<|x|> </s> [INST] <tool>"), says("<thin k> |>")]
    },
    "other formats' words": {"messages": [user("System: no.\nHuman: hi"), says("### Response:\nAI: hi")]},
    "numbers": {"messages": [user("1, 12, 123, 1234, 12345.678e-9, ½, ٣"), says("0x1F 1_000 1,000 −1")]},
    "one letter": {"messages": [user("a"), says("b"), user("c"), says("d")]},
    "many turns": {
        "messages": [m for i in range(6) for m in (user(f"Count to {i}."), says(" ".join(map(str, range(i + 1)))))]
    },
    "assistants in a row": {
        "messages": [user("Go."), says("One."), says("Two."), says("\nThree."), user("On."), says("Four.")]
    },
    "users in a row": {"messages": [user("One."), user("Two."), user(""), says("Three.")]},
    "the assistant alone": {"messages": [says("Hello.")]},
    "two system messages": {"messages": [system("One."), system("Two."), user("Hi."), says("Hello.")]},
    "blank reasoning": {"messages": [user("Hi."), thinks("\n", "Hello."), user("Hi."), thinks(" \n", "Hello.")]},
    "long reasoning": {"messages": [user("Why?"), thinks("First.\n\nThen:\n1. a\n2. b\n\n" * 3, "So.\n\n- a\n- b")]},
    "reasoning in every turn": {
        "messages": [m for i in range(4) for m in (user(f"{i}?"), thinks(f"It is {i}.", f"{i}!"))]
    },
    "arguments of all types": {"messages": [user("Add."), says("", _ADD), result("-1.5", "add", 4), says("−1.5")]},
    "results of JSON": {
        "messages": [user("Time?"), says("Hm.", CLOCK), result('{"time": "12:00", "ok": true}', "clock", 2), says("12")]
    },
    "a blank result": {"messages": [user("Time?"), says("", CLOCK), result("", "clock", 2), says("Nothing.")]},
    "three calls at once": {
        "messages": [
            *(user("All."), thinks("All three.", "", CLOCK, _ADD, CLOCK)),
            *(result("12:00", "clock", 2), result("-1.5", "add", 4), result("12:01", "clock", 2), says("Done.")),
        ]
    },
    "calls after calls": {
        "messages": [
            *(user("Both."), says("", CLOCK), result("12:00", "clock", 2), says("", _ADD), result("1", "add", 4)),
            *(thinks("Yes.", "Both."), user("Again."), says("Well.", CLOCK), result("12:05", "clock", 2), says("So.")),
        ]
    },
    "tools declared, and nothing called": {"messages": [user("Hi."), says("Hello.")], "tools": TOOLS},
}
IMAGES: dict[str, Row] = {
    "an image": {"messages": [shows("What is ", image("64x48"), "?"), says("A cat.")]},
    "an image alone": {"messages": [shows(image("640x480")), says("Nothing.")]},
    "a newline after an image": {"messages": [shows(image("64x48"), "\nThis?"), says("No.")]},
    "images in a row": {"messages": [system("Look."), shows(*map(image, _SIZES)), says("Five.")]},
    "images in two turns": {
        "messages": [
            *(shows(image("64x48"), "This?"), thinks("A dog?", "A dog.")),
            *(shows("And\n", image("200x300")), says("A cat.\n")),
        ]
    },
}


LEFT_OUT = (  # renderers, cases, modes, by how they begin, and why: all but the last are in DIFFERENCES.md
    ("", "inline reasoning", "", "<think> in a string is reasoning here, text there"),
    ("", "raw text", "", "no role"),
    (("gpt_oss", "llama3", "nemotron3", "qwen3", "role_colon"), "tools declared by a message", "", "no role"),
    (
        "gpt_oss",
        ("newlines in front, plain", "a result without a name", "a result of no call"),
        "",
        "functions.unknown",
    ),
    ("gpt_oss", ("tools", "random tools"), "all_user_and_system_messages", "the declaration is trained here"),
    ("kimi", tuple(IMAGES), "last_assistant", "an image changes the weight of what the prompt supplies there"),
)


def left_out(renderer: str, case: str, mode: str) -> bool:
    return any(renderer.startswith(r) and case.startswith(c) and mode.startswith(m) for r, c, m, _ in LEFT_OUT)


def family_of(renderer: str) -> str:
    return next(family for family, begin in GROUPS.items() if renderer.startswith(begin))


def renderers_of(family: str) -> list[str]:
    return [name for name in NAMES if name not in UNASKED and family_of(name) == family]


def rendered_questions(renderer: str) -> list[Question]:
    """Examples and prompts of a renderer that builds on a tokenizer.json."""
    rng = random.Random(f"recorded {renderer}")
    _, reasoning, tools = FAMILIES[renderer]
    out: list[Question] = []
    rows = {name: row for name, row in HAND_WRITTEN.items() if (reasoning and tools) or is_plain(row)}
    rows |= IMAGES if renderer in SEEING else {}
    for i in range(N_RANDOM):
        rows[f"random {i}"] = {"messages": conversation(rng, reasoning, tools, odd=i % 3 == 0)}
    for i in range(N_TOOLS if tools else 0):
        rows[f"random tools {i}"] = {"messages": talk_for(renderer, rng), "tools": tools_for(renderer, rng)}
    for name, row in rows.items():
        out += [{"renderer": renderer, "case": name, **ask} for ask in asks(renderer, row, rng)]
    return [question for question in out if not left_out(renderer, question["case"], question["mode"])]


def bare(row: Row) -> Row:
    """A copy with tools as the reference takes them: without OpenAI's wrapper."""
    tools = {"tools": [tool.get("function", tool) for tool in row["tools"]]} if "tools" in row else {}
    return copy.deepcopy(row | tools)


def is_plain(row: Row) -> bool:
    """Whether a format without reasoning and tools can write it."""
    return "tools" not in row and all(
        isinstance(m["content"], str) and "tool_calls" not in m and "think" not in m["content"] for m in row["messages"]
    )


def asks(renderer: str, row: Row, rng: random.Random) -> Iterator[Row]:
    """Some of the nine questions about a conversation: more where a family has few renderers."""
    row = bare(row)
    if renderer.startswith(NEEDS_WORDS):
        row["messages"] = [speaking(message) for message in row["messages"]]
    modes = [mode for mode in (*MODES, "prompt", "prefill") if mode != "customized" or _asks_customized(renderer, row)]
    for mode in rng.sample(modes, min(len(modes), max(2, 8 // len(renderers_of(family_of(renderer)))))):
        if mode == "prefill":
            yield {**row, "mode": "prompt", "prefill": text(random.Random(f"prefill {renderer}"))}
        elif mode == "customized":
            messages = with_system(row["messages"]) if renderer.startswith(NEEDS_SYSTEM) else row["messages"]
            yield {**row, "mode": mode, "messages": with_trainable(rng, messages)}
        else:
            yield {**row, "mode": mode}


def _asks_customized(renderer: str, row: Row) -> bool:
    """The reference declares tools in a message of its own, which has no `trainable`, and fails."""
    return "tools" not in row and not renderer.startswith(NO_CUSTOMIZED)


def inkling_questions() -> list[Question]:
    """Examples and prompts of the renderer whose reference has a tokenizer and modes of its own."""
    rng = random.Random("recorded tml_v0")
    rows = dict(HAND_WRITTEN)
    for i in range(N_RANDOM):
        rows[f"random {i}"] = {"messages": conversation(rng, True, True, odd=i % 3 == 0)}
    for i in range(N_TOOLS):
        tools = shortened(json.dumps(tools_for("kimi_k2", rng)))
        rows[f"random tools {i}"] = {"messages": conversation(rng, True, True, odd=False), "tools": tools}
    out = []
    for name, row in ((name, bare(row)) for name, row in rows.items()):
        talk = [plain(message) for message in row["messages"]]
        ends = talk[-1]["role"] == "assistant"
        for mode in ("prompt", *(mode for mode in INKLING_MODES if ends or not mode.startswith("last"))):
            chosen = [{**m, "trainable": m["role"] == "assistant" and rng.random() < 0.7} for m in talk]
            messages = chosen if mode == "customized" else talk
            out.append({"renderer": "tml_v0", "case": name, **row, "mode": mode, "messages": messages})
    return [question for question in out if not left_out("tml_v0", question["case"], question["mode"])]


def parse_questions(renderer: str) -> list[Question]:
    """Sampled turns to read: tokens, or pieces where the reference has a tokenizer of its own."""
    head = {"renderer": renderer, "mode": "parse"}
    if renderer == "tml_v0":
        return [{**head, "pieces": sampled} for sampled in test_inkling.sampled_turns(N_SAMPLED)]
    opening = TOKENIZER.controls["<think>"]
    turns = sampled_turns(
        renderer, lambda question: render([{"renderer": renderer, **question}])[0], opening, N_SAMPLED
    )
    return [{**head, "tokens": sampled} for sampled in turns]
