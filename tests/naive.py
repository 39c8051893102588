"""Plain-Python twins of the jitted functions and of rendering: lists and loops, with no thought of speed."""

import itertools
import math

from kernel.conversation import Message, last_user
from kernel.render.spans import Span
from kernel.renderer_language.compiler import prepared
from kernel.renderer_language.interpreter import (
    Slot,
    SpanKind,
    check,
    cue_elements,
    expanded,
    row_elements,
    slot_text,
    spelled,
)
from kernel.renderer_language.pieces import Condition


def datums(examples, max_length, reduction, units=None, media=()):
    """[(inputs, targets, weights, media)] of [(tokens, weights)]; media is [(example, start, length, key)]."""
    shifted = []
    for b, (tokens, weights) in enumerate(examples):
        spans = sorted(span[1:] for span in media if span[0] == b)
        n = len(tokens) if max_length is None else min(len(tokens), max_length)
        while spans and spans[-1][0] + spans[-1][1] >= n:
            start, _, _ = spans.pop()
            n = min(n, start)
        shifted.append((tokens[: n - 1], tokens[1:n], weights[1:n], spans))
    units = list(range(len(examples))) if units is None else units
    sums = {
        unit: math.fsum(w for u, s in zip(units, shifted, strict=True) if u == unit for w in s[2]) for unit in units
    }
    return [
        (inputs, targets, [w / sums[unit] if reduction == "mean" and sums[unit] > 0 else w for w in weights], spans)
        for unit, (inputs, targets, weights, spans) in zip(units, shifted, strict=True)
    ]


def sums(logprobs, targets, weights, n_bytes):
    """(nats, weight, text_nats, n_text_bytes, n_loss_tokens) of a batch."""
    logprobs, weights = [float(lp) for lp in logprobs], [float(w) for w in weights]
    trained = [(lp, t) for lp, t, w in zip(logprobs, targets, weights, strict=True) if w > 0]
    text = [(lp, n_bytes[t]) for lp, t in trained if n_bytes[t] > 0]
    return (
        -math.fsum(lp * w for lp, w in zip(logprobs, weights, strict=True)),
        math.fsum(weights),
        -math.fsum(lp for lp, _ in text),
        sum(n for _, n in text),
        len(trained),
    )


def cipher_row(n, seed, place):
    """The row at a place of n under the cipher's shuffle."""

    def mix(x):
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    keys = [mix((seed + i * 0x9E3779B97F4A7C15) % 2**64) for i in range(1, 9)]
    side = next(side for side in itertools.count(math.isqrt(n)) if side % 2 == 0 and side**2 >= n)
    while True:
        left, right = divmod(place, side)
        for key in keys:
            left, right = right, (left + mix((right + key) % 2**64)) % side
        place = left * side + right
        if place < n:
            return place


def conditions_of(renderer, conversation, is_example):
    """The conditions of each message, each found by looking at the whole conversation."""
    user = last_user(conversation)
    turn = renderer.turn_start(conversation[:-1] if is_example else conversation)
    masks = []
    for i, message in enumerate(conversation):
        rest, parts = conversation[i + 1 :], () if isinstance(message.content, str) else message.content
        has_text = (
            message.content != "" if isinstance(message.content, str) else any(p.kind != "thinking" for p in parts)
        )
        true = {
            after(conversation, i),
            "LAST" if not rest else {"user": "BEFORE_USER", "tool": "BEFORE_TOOL"}.get(rest[0].role),
            "LAST_IN_EXAMPLE" if is_example and not rest else None,
            "HAS_USER" if user >= 0 else None,
            "TOOLS_DECLARED" if any(m.tools for m in conversation) else None,
            None if i < user else "LAST_USER" if i == user else "AFTER_LAST_USER",
            "IN_TURN" if i >= turn else None,
            "ONLY_ASSISTANT_FOLLOWS" if all(m.role == "assistant" for m in rest) else None,
            *(("HAS_TEXT", "HAS_TEXT_OR_REASONING") if has_text else ()),
            "HAS_REASONING" if any(p.kind == "thinking" for p in parts) else None,
            "HAS_CALLS" if message.tool_calls else None,
            "HAS_TOOLS" if message.tools else None,
            "HAS_NAME" if message.name else None,
        }
        if any(true >= {condition.name for condition in keep} for keep in renderer.keep):
            true |= {"KEEPS_REASONING"}
            true |= {"SHOWS_REASONING", "HAS_TEXT_OR_REASONING"} if "HAS_REASONING" in true else set()
        masks.append(sum(condition for condition in Condition if condition.name in true))
    return masks


def after(conversation, i):
    """The name of what message i comes after."""
    if i == 0:
        return "FIRST"
    before = conversation[i - 1]
    if before.role == "assistant":
        return "AFTER_CALLS" if before.tool_calls else "AFTER_ANSWER"
    if i == 1 and before.role == "system":
        return "AFTER_FIRST_SYSTEM"
    return {"user": "AFTER_USER", "tool": "AFTER_TOOL"}.get(before.role)


def write(renderer, conversation, is_example=True):
    """The spans of a conversation, message by message, without weights."""
    ready = prepared(renderer, conversation)
    spans = [Span(kind, text, False, -1) for kind, text in spelled(renderer, renderer.bos)]
    for i, (message, mask) in enumerate(zip(ready, conditions_of(renderer, ready, is_example), strict=True)):
        check(renderer, message)
        shape = None if isinstance(message.content, str) else tuple(part.kind for part in message.content)
        elements = expanded(renderer, row_elements(renderer, message.role, mask, shape), message)
        spans += [Span(kind, text, sampled, i) for kind, text, sampled in filled(elements, message)]
    return spans


def write_prompt(renderer, conversation, prefill=""):
    """The spans of a conversation as a prompt, its cue, and a prefill."""
    ready = prepared(renderer, conversation)
    name = after(ready, len(ready))
    cue = cue_elements(renderer, sum(condition for condition in Condition if condition.name == name))
    spans = write(renderer, conversation, is_example=False)
    spans += [Span(kind, text, False, len(ready)) for kind, text, _ in filled(cue, Message(""))]
    return [*spans, Span(SpanKind.MESSAGE, prefill, False, len(ready))] if prefill else spans


def filled(elements, message):
    """Elements with the message's own text, those without any left out."""
    texts = [(e.kind, slot_text(e.text, message) if isinstance(e.text, Slot) else e.text, e.sampled) for e in elements]
    return [one for one in texts if one[1]]
