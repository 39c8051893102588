"""The conversations of the golden renders: together they meet every condition a piece can ask about.

They are rows of JSON as users have them. A renderer that has no place for something in a row has the sentence of its
refusal as its golden.
"""

from typing import Any

Message = dict[str, Any]


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def says(text: str, *calls: Message) -> Message:
    return {"role": "assistant", "content": text} | ({"tool_calls": list(calls)} if calls else {})


def thinks(reasoning: str, text: str, *calls: Message) -> Message:
    parts = [{"type": "thinking", "thinking": reasoning}] + ([{"type": "text", "text": text}] if text else [])
    return {"role": "assistant", "content": parts} | ({"tool_calls": list(calls)} if calls else {})


def call(name: str, arguments: str, number: int) -> Message:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text: str, name: str, number: int) -> Message:
    return {"role": "tool", "content": text, "name": name, "tool_call_id": f"call_{number}"}


WEATHER = call("weather", '{"city": "Zürich", "days": 2, "metric": true, "tags": ["a", {"b": null}]}', 1)
CLOCK = call("clock", "{}", 2)
NOTE = call("note", '{"text": "line one\\nline two", "draft": false, "owner": null, "score": 0.5}', 3)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where."},
                    "days": {"type": "integer", "description": "How many days.", "default": 1},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
            },
        },
    },
    {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
]

_ONE = [user("2+2?"), says("4")]
_TWO = [system("Be brief."), user("2+2?"), says("4"), user("And one more?"), says("5")]
_REASONED = [user("2+2?"), thinks("Two pairs.", "4"), user("And one more?"), thinks("Four, five.", "5")]
_CALLS = [
    system("Use tools."),
    user("Weather and time?"),
    thinks("I need both.", "Let me look.", WEATHER, CLOCK),
    result("sunny", "weather", 1),
    result("12:00", "clock", 2),
    thinks("Now I know.", "Sunny, noon."),
    user("Thanks."),
    says("Any time."),
]

CASES: dict[str, dict[str, Any]] = {
    "one turn": {"messages": _ONE},
    "two turns": {"messages": _TWO},
    "reasoning": {"messages": _REASONED},
    "reasoning once": {"messages": [*_REASONED[:2], user("Sure?"), says("Yes.")]},
    "reasoning last": {"messages": [*_TWO[:4], thinks("Four, five.", "5")]},
    "reasoning alone": {"messages": [user("2+2?"), thinks("Hm.", "")]},
    "reasoning in history alone": {"messages": [user("2+2?"), thinks("Hm.", ""), user("Well?"), says("4")]},
    "white space": {
        "messages": [
            system("  Be brief.\n"),
            user("\n2+2? "),
            thinks("\n\nTwo pairs. \n", "\n\n4 \n"),
            user(" And? \n"),
            says("\n 5 \n\n"),
        ]
    },
    "newlines in front": {
        "messages": [
            system("\n\nBe brief."),
            {"role": "developer", "content": "\nTruly."},
            user("\n2+2?"),
            says("\n4", CLOCK),
            result("\n12:00", "clock", 2),
            thinks("\nTwo pairs.\n", "\n4"),
        ]
    },
    "newlines in front, no developer": {
        "messages": [
            system("\n\nBe brief."),
            user("\n2+2?"),
            says("\n4", CLOCK),
            result("\n12:00", "clock", 2),
            says("\nNoon."),
        ]
    },
    "newlines in front, plain": {
        "messages": [
            system("\nBe brief."),
            {"role": "developer", "content": "\nTruly."},
            user("\n2+2?"),
            {"role": "tool", "content": "\n4"},
            says("\n4"),
        ]
    },
    "everyone twice": {
        "messages": [
            user("One."),
            user("Two."),
            thinks("\nHm.\n", "Look.", CLOCK),
            thinks("Hm.", "Again.", CLOCK),
            result("12:00", "clock", 2),
            says("Noon."),
            says("Truly."),
            user("Bye."),
            thinks("\nSo.\n", "Bye."),
        ]
    },
    "newlines in history": {
        "messages": [user("2+2?"), thinks("\nTwo pairs.\n", "\n4"), user("Sure?"), thinks("\nYes.\n", "Yes.")]
    },
    "the assistant begins": {"messages": [says("\nHello."), user("Hi."), says("Well?")]},
    "nobody asks, newlines": {"messages": [thinks("\nAlone.\n", "\nHello."), thinks("\nStill.\n", "\nAnybody?")]},
    "blank texts": {"messages": [system(""), user(" "), says("\n"), user(""), says("")]},
    "parts in between": {
        "messages": [
            user("Go."),
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "First."},
                    {"type": "thinking", "thinking": "Hm."},
                    {"type": "text", "text": "\nSecond."},
                    {"type": "thinking", "thinking": "Ah."},
                    {"type": "text", "text": "Third."},
                ],
            },
        ]
    },
    "inline reasoning": {"messages": [user("2+2?"), says("<think>\nTwo pairs.\n</think>\n\n4")]},
    "calls": {"messages": _CALLS},
    "calls to the end": {"messages": _CALLS[:6]},
    "calls unanswered": {"messages": _CALLS[:3]},
    "calls and results": {"messages": _CALLS[:5]},
    "calls without text": {"messages": [user("Time?"), says("", CLOCK), result("12:00", "clock", 2), says("Noon.")]},
    "calls after text": {"messages": [user("Note it."), says("I do.", NOTE), result("ok", "note", 3), says("Done.")]},
    "calls after reasoning": {
        "messages": [user("Time?"), thinks("Look.", "", CLOCK), result("12:00", "clock", 2), thinks("Noon.", "Noon.")]
    },
    "newlines around reasoning, and a call": {
        "messages": [result("12:00", "clock", 2), thinks("\nLook.\n", "\nAgain.", CLOCK)]
    },
    "calls twice in a turn": {
        "messages": [
            user("Both."),
            thinks("One.", "", WEATHER),
            result("sunny", "weather", 1),
            thinks("Two.", "Next.", CLOCK),
            result("12:00", "clock", 2),
            thinks("Three.", "Done."),
            user("And again?"),
            says("No.", NOTE),
        ]
    },
    "calls in an old turn": {
        "messages": [
            user("Time?"),
            thinks("Look.", "", CLOCK),
            result("12:00", "clock", 2),
            thinks("Noon.", "Noon."),
            user("Sure?"),
            thinks("Yes.", "Sure."),
        ]
    },
    "tools declared": {"messages": [system("Use tools."), user("Hi."), says("Hello.")], "tools": TOOLS},
    "tools declared without a system message": {"messages": _CALLS[1:6], "tools": TOOLS},
    "nobody asks": {"messages": [system("Greet."), says("Hello."), says("Anybody?")]},
    "nobody asks, with reasoning": {"messages": [thinks("Alone.", "Hello.")]},
    "the user has the last word": {"messages": [*_TWO[:4]]},
    "the user alone": {"messages": [user("Hello?")]},
    "the system alone": {"messages": [system("Be brief.")]},
    "the assistant twice": {"messages": [user("Hi."), says("Hello."), thinks("More.", "And more.")]},
    "a late system message": {
        "messages": [user("Hi."), system("Be brief."), says("Hello."), user("Bye."), says("Bye.")]
    },
    "a developer": {"messages": [{"role": "developer", "content": "Be brief."}, *_ONE]},
    "results first": {"messages": [result("12:00", "clock", 2), says("Noon."), user("Thanks."), says("Welcome.")]},
    "results after the user": {"messages": [user("Hi."), result("12:00", "clock", 2), user("Well?"), says("Noon.")]},
    "results last": {"messages": [user("Time?"), says("", CLOCK), result("12:00", "clock", 2)]},
    "an image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "image", "image": "cat.png"},
                    {"type": "text", "text": "?"},
                ],
            },
            says("A cat."),
        ]
    },
    "spelled controls": {
        "messages": [
            system("<|im_end|><|eot_id|><|end|>"),
            user("<|im_start|>assistant\n<think>x</think> </tool_response>"),
            thinks("</think><|im_end|>", "<tool_call>{}</tool_call><｜end▁of▁sentence｜>", CLOCK),
            result("</tool_response><|im_end|><|tool_call_end|>", "<|message|>", 2),
            says("Ünï 你好 🙂"),
        ]
    },
    "calls nobody answers": {"messages": [user("Time?"), says("", CLOCK), user("Never mind."), says("Fine.")]},
    "a result nobody asked for": {
        "messages": [user("Time?"), says("Wait."), result("12:00", "clock", 2), says("Noon.")]
    },
    "a result without a name": {
        "messages": [user("Time?"), says("", CLOCK), {"role": "tool", "content": "12:00"}, says("Noon.")]
    },
    "a result of no call, without a name": {
        "messages": [user("Time?"), {"role": "tool", "content": "\n12:00"}, says("Noon.")]
    },
    "a late system message, newlines in front": {
        "messages": [system("\nGreet."), user("Hi."), system("\n\nBe brief."), says("\nHello.")]
    },
    "raw text": {"messages": [{"role": "text", "content": "\nOnce upon a time.\n"}]},
    "tools declared by a message": {
        "messages": [{"role": "tool_declare", "content": "\n[{}]"}, user("Hi."), says("Hello.")]
    },
}
