"""Every trained turn is shown what sampling would show it, in one example or in as many as it takes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.conversation import Conversation, Message, Part, ToolCall
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import SPLITTABLE, BatchRenderer, trained
from kernel.renderer_language.compiler import CompiledConversation, prepared
from kernel.renderer_language.pieces import Condition, Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.llama3 import LLAMA3
from kernel.renderers.plain_text import ROLE_COLON
from kernel.renderers.qwen3 import QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT
from tests.kernel.render.programs import ALL, FEW, examples_of, fits, tokens_of
from tests.naive import write, write_prompt


def open_ended(renderer: Renderer) -> Renderer:
    """The renderer without what it adds behind an example's last message alone."""
    rows = {
        role: tuple(p for p in row if Condition.LAST_IN_EXAMPLE not in p.when) for role, row in renderer.rows.items()
    }
    return replace(renderer, rows=rows)


def flat(lists: list[list[int]]) -> list[int]:
    return [number for one in lists for number in one]


@ALL
def test_every_trained_turn_is_shown_and_trained_once_as_it_would_be_sampled(renderer: Renderer) -> None:
    renderer = open_ended(renderer)
    batch_renderer = BatchRenderer(renderer)

    @FEW
    @given(fits(renderer), st.sampled_from(sorted(SPLITTABLE)))
    def law(talk: Conversation, mode: TrainOnWhat) -> None:
        try:
            examples = examples_of(batch_renderer, [talk], mode)
        except InputError:
            return
        ready = prepared(renderer, talk)
        if len(ready) < len(talk):
            return
        shift = len(ready) - len(talk)
        split = len(examples.rows) > 1
        n_trained = 0
        tokens = [examples.tokens[a:b].tolist() for a, b in zip(examples.offsets, examples.offsets[1:], strict=False)]
        weights = [examples.weights[a:b].tolist() for a, b in zip(examples.offsets, examples.offsets[1:], strict=False)]
        for i, hit in enumerate(trained(mode, ready, renderer.turn_start(ready[:-1]))):
            if not hit:
                continue
            spans = write(renderer, talk[: i + 1 - shift])
            ids = tokens_of(spans)
            shown = flat(ids)
            begins = len(flat([one for one, span in zip(ids, spans, strict=True) if span.message < i]))
            sampled = [
                w for one, s in zip(ids, spans, strict=True) if s.message == i for w in [float(s.sampled)] * len(one)
            ]
            prompt = flat(tokens_of(write_prompt(renderer, talk[: i - shift])))
            if shown[: len(prompt)] == prompt:
                supplied = max(0, len(prompt) - begins)
                sampled[:supplied] = [0.0] * supplied
            fits_in = [b for b, one in enumerate(tokens) if one[: len(shown)] == shown]
            assert fits_in
            if split:
                assert [b for b in fits_in if weights[b][begins : len(shown)] == sampled]
            n_trained += sum(sampled)
        if split:
            assert sum(map(sum, weights)) == n_trained

    law()


PLAIN = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", "+1?"), Message("assistant", "5"))
REASONED = (
    PLAIN[0],
    Message("assistant", (Part("thinking", "two pairs"), Part("text", "4"))),
    PLAIN[2],
    Message("assistant", (Part("thinking", "one more"), Part("text", "5"))),
)


def n_examples(renderer: Renderer, talk: Conversation, mode: TrainOnWhat = TrainOnWhat.ALL_ASSISTANT_MESSAGES) -> int:
    return len(BatchRenderer(renderer).render([talk], mode).rows)


@pytest.mark.parametrize("renderer", [ROLE_COLON, LLAMA3, QWEN3_INSTRUCT], ids=lambda r: r.name)
def test_plain_chat_is_one_example_where_no_turn_is_written_differently_later(renderer: Renderer) -> None:
    assert n_examples(renderer, PLAIN) == 1


def test_a_format_that_frames_the_produced_turn_alone_needs_an_example_for_each() -> None:
    assert n_examples(QWEN3, PLAIN) == 2
    assert n_examples(QWEN3_DISABLE_THINKING, PLAIN) == 2
    assert n_examples(QWEN3, PLAIN[:2]) == 1


def test_a_turn_that_would_lose_its_own_reasoning_is_shown_with_it() -> None:
    assert n_examples(QWEN3_INSTRUCT, REASONED) == 2
    script = BatchRenderer(QWEN3_INSTRUCT).render([REASONED], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    assert script.rows.tolist() == [0, 0]
    assert [text for text in script.texts if "two pairs" in text]


def test_calls_within_the_turn_are_trained_as_they_were_made() -> None:
    talk = (
        Message("user", "1+1?"),
        Message("assistant", (Part("thinking", "call"),), (ToolCall("add", "{}"),)),
        Message("tool", "2"),
        Message("assistant", "2"),
    )
    assert n_examples(QWEN3, talk) == 2
    assert n_examples(QWEN3, talk, TrainOnWhat.LAST_ASSISTANT_TURN) == 2
    assert n_examples(QWEN3, talk, TrainOnWhat.LAST_ASSISTANT_MESSAGE) == 1


@pytest.mark.parametrize("mode", sorted(set(TrainOnWhat) - SPLITTABLE - {TrainOnWhat.CUSTOMIZED}))
@ALL
def test_other_modes_never_split(renderer: Renderer, mode: TrainOnWhat) -> None:
    assert n_examples(renderer, PLAIN, mode) == 1


def test_a_talk_that_ends_with_the_user_trains_the_answer_as_it_was_sampled() -> None:
    script = BatchRenderer(QWEN3).render([PLAIN[:3]], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
    assert script.rows.tolist() == [0]
    assert "\n\n4" in script.texts


def test_splitting_can_be_switched_off() -> None:
    for renderer in RENDERERS.values():
        script = BatchRenderer(renderer, split_turns=False).render([PLAIN], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        assert len(script.rows) == 1


@pytest.mark.parametrize("split", [True, False])
@ALL
def test_what_is_remembered_of_a_pattern_changes_nothing(renderer: Renderer, split: bool) -> None:
    remembers = BatchRenderer(renderer, split)

    @settings(max_examples=8)
    @given(st.lists(fits(renderer), min_size=1, max_size=4), st.sampled_from(TrainOnWhat))
    def law(talks: list[Conversation], mode: TrainOnWhat) -> None:
        talks = [tuple(m._replace(trainable=True) for m in t) if mode is TrainOnWhat.CUSTOMIZED else t for t in talks]
        forgets = BatchRenderer(renderer, split)
        forgets._caches_patterns = False
        forgets._compiler = remembers._compiler  # the same numbers for the same static runs
        assert composed(remembers, talks, mode) == composed(forgets, talks, mode)
        assert composed(remembers, talks, mode) == composed(forgets, talks, mode)

    law()


def test_a_turn_that_begins_where_something_is_said_is_found_in_each_conversation() -> None:
    renderer = replace(QWEN3, turn_starts_after=lambda _, message: message.content == "Go.")
    talks = [
        (Message("user", first), Message("assistant", "4"), Message("user", second), Message("assistant", "5"))
        for first, second in (("Go.", "And?"), ("Well?", "Go."))
    ]
    at_once = BatchRenderer(renderer, split_turns=False).render(talks, TrainOnWhat.LAST_ASSISTANT_TURN)
    alone = [BatchRenderer(renderer, split_turns=False).render([t], TrainOnWhat.LAST_ASSISTANT_TURN) for t in talks]
    assert at_once.weights.tolist() == [weight for script in alone for weight in script.weights.tolist()]
    assert alone[0].weights.sum() > alone[1].weights.sum()


def composed(batch_renderer: BatchRenderer, talks: list[Conversation], mode: TrainOnWhat) -> object:
    try:
        script = batch_renderer.render(talks, mode, [f"row {i}" for i in range(len(talks))])
    except InputError as error:
        return str(error)
    arrays = (script.ops, script.weights, script.offsets, script.rows, *script.prompt_masks)
    return script.texts, script.images, [array.tolist() for array in arrays]


def test_patterns_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.render.batch_renderer.MAX_SKELETONS", 3)
    batch_renderer = BatchRenderer(ROLE_COLON)
    for n in range(1, 9):
        batch_renderer.render([(Message("user", "a"), Message("assistant", "b")) * n], TrainOnWhat.ALL_MESSAGES)
    assert len(batch_renderer._skeletons) <= 3


@pytest.mark.parametrize("name", ["kimi_k2", "gpt_oss_medium_reasoning", "qwen3"])
def test_the_work_of_a_long_trace_grows_as_what_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[int] = []
    message = CompiledConversation._message
    monkeypatch.setattr(
        CompiledConversation, "_message", lambda self, i, mask: looked_up.append(i) or message(self, i, mask)
    )

    def work(n: int) -> tuple[int, int]:
        step = (
            Message("assistant", (Part("thinking", "call"),), (ToolCall("add", "{}", "c"),)),
            Message("tool", "2", name="add", tool_call_id="c"),
        )
        looked_up.clear()
        talk = (Message("user", "1+1?"), *step * n, Message("assistant", "2"))
        program = BatchRenderer(RENDERERS[name]).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        return len(looked_up), len(program.ops)

    (once, written), (twice, written_twice) = work(50), work(100)
    assert twice <= 2.1 * once
    assert written_twice <= (4.2 if name == "qwen3" else 2.1) * written
