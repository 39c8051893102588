"""Programs against their plain twin: spans, joined into runs, encoded one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.conversation import Conversation, Message, Part
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.render.batch_renderer import BatchRenderer, produced_from
from kernel.render.token_program import assemble
from kernel.renderer_language.compiler import prepared
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.plain_text import ROLE_COLON
from kernel.renderers.qwen3 import QWEN3, QWEN3_DISABLE_THINKING
from tests import strategies
from tests.kernel.render.programs import ALL, FEW, encode, encoded, examples_of, fits, tokens_of
from tests.naive import write, write_prompt
from tests.spans import weigh


def naive(renderer: Renderer, talk: Conversation, mode: TrainOnWhat) -> tuple[list[int], list[float]]:
    spans = write(renderer, talk)
    ids = tokens_of(spans)
    weights = [
        w for weight, one in zip(weigh(renderer, talk, spans, mode), ids, strict=True) for w in [weight] * len(one)
    ]
    tokens = [number for one in ids for number in one]
    ready = prepared(renderer, talk)
    start = produced_from(mode, ready)
    if start is not None:
        prompt = [number for one in tokens_of(write_prompt(renderer, ready[:start])) for number in one]
        if tokens[: len(prompt)] == prompt:
            weights[: len(prompt)] = [0.0] * len(prompt)
        elif renderer.refuses_reasoning:
            raise InputError("reasons")
    return tokens, weights


@ALL
def test_programs_give_the_tokens_and_weights_of_their_plain_twin(renderer: Renderer) -> None:
    batch_renderer = BatchRenderer(renderer, split_turns=False)

    @FEW
    @given(st.lists(fits(renderer), min_size=1, max_size=3), st.sampled_from(TrainOnWhat), st.data())
    def law(talks: list[Conversation], mode: TrainOnWhat, data: st.DataObject) -> None:
        if mode is TrainOnWhat.CUSTOMIZED:
            talks = [data.draw(strategies.any_trainable(talk)) for talk in talks]
        try:
            expected = [naive(renderer, talk, mode) for talk in talks]
        except InputError:
            with pytest.raises(InputError):
                examples_of(batch_renderer, talks, mode)
            return
        examples = examples_of(batch_renderer, talks, mode)
        assert examples.rows.tolist() == list(range(len(talks)))
        for b, (tokens, weights) in enumerate(expected):
            own = slice(examples.offsets[b], examples.offsets[b + 1])
            assert examples.tokens[own].tolist() == tokens
            assert examples.weights[own].tolist() == weights

    law()


@ALL
def test_programs_of_prompts_read_like_the_prompts(renderer: Renderer) -> None:
    batch_renderer = BatchRenderer(renderer, split_turns=False)

    @FEW
    @given(fits(renderer), st.text(max_size=5))
    def law(talk: Conversation, prefill: str) -> None:
        try:
            spans = write_prompt(renderer, talk, prefill)
        except InputError:
            return
        cue = [span for span in spans if span.message == len(prepared(renderer, talk))]
        if prefill:
            spans, cue = spans[:-1], cue[:-1]
        script = batch_renderer.prompts([talk], prefill)
        examples = assemble(script, *encoded(batch_renderer, script))
        expected = [number for one in tokens_of(spans) for number in one] + encode(prefill)
        assert examples.tokens.tolist() == expected
        assert not examples.weights.any()

    law()


def test_errors_name_the_row_and_the_message() -> None:
    talk = (Message("user", "a"), Message("narrator", "b"))
    with pytest.raises(InputError, match=r"unknown role 'narrator'.* - at train\.jsonl:3 \$\.messages\[1\]\.role"):
        BatchRenderer(ROLE_COLON).render([talk], TrainOnWhat.ALL_TOKENS, ["train.jsonl:3"])


def test_a_turn_that_reasons_behind_a_closed_block_is_refused_with_its_row() -> None:
    reasoned = (Message("user", "a"), Message("assistant", (Part("thinking", "hm"), Part("text", "b"))))
    with pytest.raises(InputError, match=r"a turn without reasoning .* - at train\.jsonl:3 \$\.messages\[1\]"):
        BatchRenderer(QWEN3_DISABLE_THINKING).render([reasoned], TrainOnWhat.ALL_ASSISTANT_MESSAGES, ["train.jsonl:3"])
    batch_renderer = BatchRenderer(QWEN3_DISABLE_THINKING, split_turns=False)
    script = batch_renderer.render([reasoned], TrainOnWhat.LAST_ASSISTANT_MESSAGE, ["train.jsonl:3"])
    with pytest.raises(InputError, match=r"a turn without reasoning .* - at train\.jsonl:3"):
        assemble(script, *encoded(batch_renderer, script))


def test_statics_only_grow() -> None:
    batch_renderer = BatchRenderer(QWEN3)
    batch_renderer.render([(Message("user", "a"),)], TrainOnWhat.ALL_TOKENS)
    before = list(batch_renderer.constant_texts)
    batch_renderer.render(
        [(Message("system", "s"), Message("user", "a"), Message("assistant", "b"))], TrainOnWhat.ALL_TOKENS
    )
    assert batch_renderer.constant_texts[: len(before)] == before
    assert len(batch_renderer.constant_texts) > len(before)


def test_no_conversations_are_an_empty_program() -> None:
    batch_renderer = BatchRenderer(ROLE_COLON)
    script = batch_renderer.render([], TrainOnWhat.ALL_TOKENS)
    examples = assemble(script, *encoded(batch_renderer, script))
    assert len(examples.tokens) == 0
    assert examples.offsets.tolist() == [0]


def test_every_renderer_stands_under_its_own_name() -> None:
    assert all(name == renderer.name for name, renderer in RENDERERS.items())
