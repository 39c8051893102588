"""The rows of the token-cache guard: 64 rows that together meet what a row of a cache can be."""

from typing import Any

Message = dict[str, Any]
TOPICS = ("rivers", "bread", "bicycles", "the moon", "chess", "Ünïcode 你好 🙂", "<|im_end|>", "\n\nUser:")


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def answer(text: str, reasoning: str = "", **more: Any) -> Message:
    parts = [{"type": "thinking", "thinking": reasoning}, {"type": "text", "text": text}]
    return {"role": "assistant", "content": parts if reasoning else text} | more


def call(number: int) -> Message:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "look_up", "arguments": '{"page": 3}'}}


def result(number: int) -> Message:
    return {"role": "tool", "name": "look_up", "tool_call_id": f"call_{number}", "content": "Page three."}


def row(i: int) -> dict[str, Any]:
    topic = TOPICS[i % len(TOPICS)]
    question = user(f"Tell me about {topic}, in {i + 2} words.")
    match i // 8:
        case 0:  # one turn
            return {"messages": [question, answer(f"{topic}: " + "so and so, " * i)]}
        case 1:  # a system message, two turns
            return {
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    question,
                    answer("No."),
                    question,
                    answer("Yes."),
                ]
            }
        case 2:  # reasoning in the last turn, or in all of them: some formats split these
            thought = "I know this." if i % 2 else ""
            return {
                "messages": [
                    question,
                    answer("Well.", thought),
                    question,
                    answer(f"{topic}.", "Let me think. " * (i % 5 + 1)),
                ]
            }
        case 3:  # calls
            looks = answer("I look.", "Where is it?" if i % 2 else "", tool_calls=[call(i)])
            return {
                "messages": [question, looks, result(i), answer(f"On page {i}."), user("Thanks."), answer("Gladly.")]
            }
        case 4:  # too long: by its prompt, or by its answer
            long = "word " * (40 + 9 * (i % 8))
            return {"messages": [user(long), answer("Yes.")] if i % 2 else [question, answer(long)]}
        case 5:  # older turns that can go
            return {
                "messages": [m for k in range(i % 8 + 1) for m in (user(f"{k} of {topic}?"), answer(f"It is {k}."))]
            }
        case 6:  # nothing to train
            return {"messages": [question] if i % 2 else [answer("Hello."), question]}
        case _:  # unusable, one way each
            broken: list[Any] = [
                {"messages": []},
                {"messages": [{"role": "humna", "content": "x"}]},
                {"messages": [user("x"), {"role": "assistant", "content": None}]},
                {"messages": [user("x"), {"role": "assistant"}]},
                {"messages": "hi"},
                {"messages": [1]},
                {"text": 3},
                {"messages": [user("x"), answer("y", tool_calls="look()")]},
            ]
            return broken[i % 8]


ROWS = [row(i) for i in range(64)]
CUSTOMIZED = [
    {"messages": [m | {"trainable": (i + k) % 3 == 0} for k, m in enumerate(one["messages"])]}
    for i, one in enumerate(ROWS[:56])
]
