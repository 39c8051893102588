"""Weights of messages and parts are factors on the token weights of the conversation without them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.conversation import Conversation, Message, Part, content_of
from kernel.datum import build_datums
from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.length_limit import apply_length_limit
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.message_weights import unweighted
from kernel.render.spans import spans
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.renderers.inline_markup import OwnMarkup, own_markup, read_own_markup
from kernel.renderers.llama3 import LLAMA3
from kernel.renderers.plain_text import ROLE_COLON
from kernel.renderers.qwen3 import QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT
from kernel.row_outcomes import Outcome
from tests.kernel.render.test_spans import fits
from tests.kernel.render.test_token_program import examples_of

SOME = pytest.mark.parametrize(
    "renderer",
    [ROLE_COLON, LLAMA3, QWEN3, QWEN3_DISABLE_THINKING, RENDERERS["kimi_k2"], RENDERERS["deepseekv3"]],
    ids=lambda renderer: renderer.name,
)
SPLIT = pytest.mark.parametrize("split", [True, False], ids=["split", "whole"])
MODES = sorted(set(TrainOnWhat) - {TrainOnWhat.CUSTOMIZED})
ASSISTANT = TrainOnWhat.ALL_ASSISTANT_MESSAGES
PLAIN = (Message("user", "2+2?"), Message("assistant", "4"), Message("user", "+1?"), Message("assistant", "5"))


def weighted(talk: Conversation, factors: list[float]) -> Conversation:
    return tuple(m._replace(weight=factor) for m, factor in zip(talk, factors, strict=False))


@SPLIT
@SOME
def test_rendering_with_factors_is_the_rendering_times_the_factor_of_each_message(
    renderer: Renderer, split: bool
) -> None:
    batch_renderer = BatchRenderer(renderer, split)

    @settings(max_examples=25)
    @given(fits(renderer), st.sampled_from(MODES), st.lists(st.sampled_from([0.25, 0.5, 1, 3]), min_size=8, max_size=8))
    def law(talk: Conversation, mode: TrainOnWhat, factors: list[float]) -> None:
        try:
            plain = examples_of(batch_renderer, [talk], mode)
        except InputError:
            return
        together = examples_of(batch_renderer, [weighted(talk, factors)], mode)
        assert together.tokens.tolist() == plain.tokens.tolist()
        assert together.offsets.tolist() == plain.offsets.tolist()
        assert ((together.weights > 0) == (plain.weights > 0)).all()
        # message by message: with the others at 1, only its own tokens change, and by its factor
        changed = np.ones(len(plain.tokens), np.float32)
        for i, factor in enumerate(factors[: len(talk)]):
            one = [1.0] * len(talk)
            one[i] = factor
            alone = examples_of(batch_renderer, [weighted(talk, one)], mode).weights
            assert set(alone[plain.weights > 0].tolist()) <= {1.0, factor}
            changed *= np.where(plain.weights > 0, alone, 1)
        assert together.weights.tolist() == (plain.weights * changed).tolist()

    law()


@SPLIT
@SOME
def test_weight_zero_is_trainable_false_in_every_mode(renderer: Renderer, split: bool) -> None:
    batch_renderer = BatchRenderer(renderer, split)
    for mode in MODES:
        for i in range(len(PLAIN)):
            zero = tuple(m._replace(weight=float(i != k)) for k, m in enumerate(PLAIN))
            false = tuple(m._replace(trainable=None if i != k else False) for k, m in enumerate(PLAIN))
            for ours, theirs in zip(
                examples_of(batch_renderer, [zero], mode)[:4],
                examples_of(batch_renderer, [false], mode)[:4],
                strict=True,
            ):
                assert ours.tolist() == theirs.tolist()


@SPLIT
@SOME
def test_trainable_on_some_messages_adds_and_takes_away_and_leaves_the_others_to_the_mode(
    renderer: Renderer, split: bool
) -> None:
    batch_renderer = BatchRenderer(renderer, split)
    flags = [True, False, None, None]
    talk = tuple(m._replace(trainable=flag) for m, flag in zip(PLAIN, flags, strict=True))
    own = examples_of(batch_renderer, [talk], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
    mode = examples_of(batch_renderer, [PLAIN], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
    asked = PLAIN[0]._replace(trainable=True)
    user = examples_of(batch_renderer, [(asked,)], TrainOnWhat.CUSTOMIZED)
    assert own.weights.sum() == mode.weights.sum() + user.weights.sum()


def test_a_row_of_weight_zero_trains_nothing_and_ends_as_zero_loss() -> None:
    talks = [PLAIN, weighted(PLAIN, [0.0] * 4)]
    for mode in MODES:
        examples = examples_of(BatchRenderer(QWEN3), talks, mode)
        assert examples.rows.tolist().count(1) == 1
        limited = apply_length_limit(examples, None)
        assert [(one.row, one.outcome) for one in limited.outcomes] == [(1, Outcome.ZERO_LOSS)]
        assert 1 not in limited.examples.rows


def test_a_part_weighs_the_tokens_of_its_text_and_not_what_is_written_around_it() -> None:
    parts = (Part("thinking", "hmhm", 0.0), Part("text", "four", 0.5), Part("text", "five", 2.0))
    talk = (PLAIN[0], Message("assistant", parts, weight=3.0))
    batch_renderer = BatchRenderer(QWEN3)
    program = batch_renderer.render([talk], ASSISTANT)
    read = [(span.text, span.weight) for span in spans(program) if span.message == 1 and span.sampled]
    assert read == [
        ("<think>", 3.0),
        ("\n", 3.0),
        ("hmhm", 0.0),
        ("\n", 3.0),
        ("</think>", 3.0),
        ("\n\n", 3.0),
        ("four", 1.5),
        ("five", 6.0),
        ("<|im_end|>", 3.0),
    ]
    plain = examples_of(batch_renderer, [unweighted(talk)], ASSISTANT)
    examples = examples_of(batch_renderer, [talk], ASSISTANT)
    assert examples.tokens.tolist() == plain.tokens.tolist()
    # pairs of letters are tokens: "\nh" "mh" "m\n", and "\n\n" "fo" "ur" "fi" "ve"
    assert examples.weights[plain.weights > 0].tolist() == [3, 0, 0, 3, 3, 3, 1.5, 1.5, 6, 6, 3]


@SOME
def test_parts_of_one_weight_are_a_message_of_that_weight_but_for_what_is_written_around(renderer: Renderer) -> None:
    batch_renderer = BatchRenderer(renderer)
    talk = (PLAIN[0], Message("assistant", (Part("text", "12345678", 0.5), Part("text", "12345678", 0.5))))
    joined = (PLAIN[0], Message("assistant", "1234567812345678", weight=0.5))
    ours, theirs = (examples_of(batch_renderer, [one], ASSISTANT) for one in (talk, joined))
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert set(ours.weights.tolist()) <= {0.0, 0.5, 1.0}
    assert 0.5 in ours.weights.tolist()


def test_weighted_rows_change_nothing_of_the_rows_around_them() -> None:
    batch_renderer = BatchRenderer(QWEN3_INSTRUCT)
    talks = [PLAIN, weighted(PLAIN, [1, 0.5, 1, 2]), PLAIN[:2], weighted(PLAIN[:2], [1, 0.25])]
    together = examples_of(batch_renderer, talks, ASSISTANT)
    alone = [examples_of(BatchRenderer(QWEN3_INSTRUCT), [talk], ASSISTANT) for talk in talks]
    assert together.tokens.tolist() == np.concatenate([one.tokens for one in alone]).tolist()
    assert together.weights.tolist() == np.concatenate([one.weights for one in alone]).tolist()


def test_the_mean_divides_by_the_sum_of_the_weighted_tokens() -> None:
    tokens, weights = np.arange(4, dtype=np.int32), np.array([0, 0.5, 1.5, 2], np.float32)
    for reduction, expected in (("mean", [0.125, 0.375, 0.5]), ("none", [0.5, 1.5, 2.0])):
        datums = build_datums(tokens, weights, np.array([0, 4]), max_length=None, reduction=reduction)  # type: ignore[arg-type]
        assert datums.weights.dtype == np.float32
        assert datums.weights.tolist() == expected


def test_the_same_turn_is_weighed_alike_in_a_talk_that_is_split_and_in_one_that_is_not() -> None:
    short, long = PLAIN[:2], PLAIN
    for name in ("qwen3_disable_thinking", "qwen3_5", "nemotron3", "kimi_k25", "deepseekv3_thinking"):
        batch_renderer = BatchRenderer(RENDERERS[name])
        one, several = (examples_of(batch_renderer, [talk], ASSISTANT) for talk in (short, long))
        first = slice(several.offsets[0], several.offsets[1])
        if several.tokens[first].tolist() == one.tokens.tolist():
            assert several.weights[first].tolist() == one.weights.tolist(), name


def test_a_format_that_joins_parts_refuses_their_weights() -> None:
    talk = (PLAIN[0], Message("assistant", (Part("thinking", "hm", 0.0), Part("text", "4"))))
    with pytest.raises(InputError, match=r"a part cannot have a weight of its own - at \$\.messages\[1\]\.content"):
        BatchRenderer(RENDERERS["glm5_3_high_reasoning"]).render([talk], ASSISTANT)


@SPLIT
@pytest.mark.parametrize("name", RENDERERS)
def test_a_row_of_weight_zero_trains_nothing_with_any_renderer_in_any_mode(name: str, split: bool) -> None:
    batch_renderer = BatchRenderer(RENDERERS[name], split)
    for mode in MODES:
        for zero in (PLAIN, PLAIN[1:], (Message("system", "S"), *PLAIN)):
            assert not examples_of(batch_renderer, [weighted(zero, [0.0] * 5)], mode).weights.any()
            flagged = tuple(message._replace(trainable=False) for message in zero)
            assert not examples_of(batch_renderer, [flagged], mode).weights.any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RENDERERS)
def test_what_a_renderer_adds_has_the_factor_of_the_row(name: str, mode: TrainOnWhat) -> None:
    batch_renderer = BatchRenderer(RENDERERS[name])
    plain, half = (examples_of(batch_renderer, [weighted(PLAIN, [f] * 4)], mode) for f in (1.0, 0.5))
    assert half.tokens.tolist() == plain.tokens.tolist()
    assert half.weights.tolist() == (plain.weights / 2).tolist()


@pytest.mark.parametrize("name", ["qwen3_8_xhigh_reasoning", "nemotron3", "kimi_k2", "gpt_oss_low_reasoning"])
def test_a_mask_on_an_answer_leaves_the_message_that_a_renderer_adds_to_the_mode(name: str) -> None:
    batch_renderer, mode = BatchRenderer(RENDERERS[name]), TrainOnWhat.ALL_MESSAGES
    plain = examples_of(batch_renderer, [PLAIN[:2]], mode)
    masked = examples_of(batch_renderer, [(PLAIN[0], PLAIN[1]._replace(trainable=False))], mode)
    n = int(np.flatnonzero(plain.weights != masked.weights)[0])
    assert plain.weights[:n].any()


def test_messages_that_a_format_writes_as_one_turn_cannot_differ_in_weight() -> None:
    talk = (Message("user", "2+2?"), Message("user", "Quick!", weight=0.5), Message("assistant", "4"))
    batch_renderer = BatchRenderer(RENDERERS["deepseekv4_1"])
    with pytest.raises(
        InputError, match=r"as one turn, so they cannot differ in weight - at \$\.messages\[1\]\.weight"
    ):
        batch_renderer.render([talk], TrainOnWhat.ALL_MESSAGES)
    batch_renderer.render([talk], ASSISTANT)  # where neither is trained, there is nothing to refuse
    alike = weighted(talk, [0.5, 0.5, 1])
    assert 0.5 in examples_of(batch_renderer, [alike], TrainOnWhat.ALL_MESSAGES).weights


TYPED = ["<think>", "</think>", "hm", "\n", " ", "4", "<", "think>"]


def test_weights_of_parts_never_change_tokens() -> None:
    every = [(BatchRenderer(renderer), own_markup(renderer)) for renderer in RENDERERS.values()]

    @settings(max_examples=300)
    @given(
        st.sampled_from(every),
        st.lists(st.tuples(st.sampled_from(TYPED), st.sampled_from([0.0, 0.5, 1.0, 2.0])), min_size=1, max_size=6),
        st.sampled_from(["user", "assistant", "system"]),
    )
    def law(one: tuple[BatchRenderer, OwnMarkup], said: list[tuple[str, float]], role: str) -> None:
        batch_renderer, markup = one
        talks = [
            (PLAIN[0], Message(role, content_of([Part("text", t, w if own else 1.0) for t, w in said])), *PLAIN[2:])
            for own in (False, True)
        ]
        try:
            plain, own = (
                examples_of(batch_renderer, [read_own_markup(markup, talk)], TrainOnWhat.ALL_MESSAGES) for talk in talks
            )
        except InputError:
            return
        assert own.tokens.tolist() == plain.tokens.tolist()

    law()


def test_reasoning_typed_in_a_weighted_part_is_reasoning_of_that_weight() -> None:
    parts = (Part("text", "<think>\nhm", 0.5), Part("text", "hm\n</think>\n\n4", 2.0))
    talk = (PLAIN[0], Message("assistant", parts))
    read = [(s.text, s.weight) for s in spans(BatchRenderer(QWEN3).render([talk], ASSISTANT)) if s.weight not in (0, 1)]
    assert read == [("hm", 0.5), ("hm", 2.0), ("4", 2.0)]


def test_a_call_typed_in_a_weighted_part_is_refused() -> None:
    typed = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    talk = (PLAIN[0], Message("assistant", (Part("text", "so"), Part("text", typed, 0.5))))
    with pytest.raises(InputError, match=r"holds a call or a result: .* - at \$\.messages\[1\]\.content"):
        read_own_markup(own_markup(QWEN3), talk)
