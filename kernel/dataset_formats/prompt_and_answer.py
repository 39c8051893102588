"""Rows of one prompt and one answer under keys of their own, with what came before them."""

from typing import NamedTuple

from kernel.conversation import Origin
from kernel.dataset_formats.row_messages import Row, Turns, from_json, messages_in, text_of
from kernel.errors import expected
from kernel.json_values import kind_of
from kernel.row_keys import holds


class PromptAndAnswer(NamedTuple):
    """The keys of such a row: its prompt, what follows the prompt on a line of its own, and its answer, or answers'."""

    prompt: str
    more: str
    answers: tuple[str, ...]

    def read(self, row: Row, _column: str) -> Turns:
        """`history` (pairs, or messages), prompt and answer; either of these is a text or a list of messages."""
        given = [key for key in self.answers if row.get(key) is not None] or [self.answers[0]]
        if len(given) > 1:
            raise expected(f"a {given[0]} or a {given[1]}", "both")
        answer = given[0]
        turns = Turns(self.prompt, *([self.more] if self.more else []), *self.answers, "history")
        _read_history(row, turns)
        self._read_prompt(row, turns)
        _read_side(row, answer, "assistant", turns)
        return turns

    def _read_prompt(self, row: Row, turns: Turns) -> None:
        more = text_of(row, self.more, "") if self.more else ""
        if not more:
            _read_side(row, self.prompt, "user", turns)
        elif not row.get(self.prompt):
            turns.add_text("user", more, self.more)
        else:
            turns.add_text("user", f"{text_of(row, self.prompt)}\n{more}", self.prompt)


PAIRS = {
    "alpaca": PromptAndAnswer("instruction", "input", ("output",)),
    "prompt_completion": PromptAndAnswer("prompt", "", ("completion", "response")),
    "dolly": PromptAndAnswer("instruction", "context", ("response",)),
    "question_answer": PromptAndAnswer("question", "", ("answer", "response")),
    "query_response": PromptAndAnswer("query", "", ("response",)),
    "input_output": PromptAndAnswer("input", "", ("output",)),
}
"""The dataset formats that are of this kind."""
MAPPED = PromptAndAnswer("prompt", "input", ("completion",))
"""the keys that --dataset-map gives"""


def _read_side(row: Row, key: str, role: str, turns: Turns) -> None:
    messages = messages_in(row.get(key))
    if messages is None:
        turns.add_text(role, text_of(row, key), key)
    elif messages:
        turns.add_messages(messages, key)
    else:
        raise expected("a list of at least one message", "an empty list", path=(key,))


def _read_history(row: Row, turns: Turns) -> None:
    if not holds(row.get("history")):
        return
    history = from_json(row["history"])
    if not isinstance(history, list):
        raise expected("a list of pairs of prompt and answer", kind_of(history), path=("history",))
    for i, pair in enumerate(history):
        if isinstance(pair, dict) and {"role", "from"} & pair.keys():
            turns.add(pair, Origin(("history", i)))
            continue
        if not isinstance(pair, list) or len(pair) != 2:
            raise expected("a pair of instruction and answer", kind_of(pair), path=("history", i))
        for k, role in enumerate(("user", "assistant")):
            turns.add_text(role, pair[k], "history", i, k)
