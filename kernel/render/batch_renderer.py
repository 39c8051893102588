"""Conversations to programs: the examples a conversation becomes, how each is written, and what it trains.

One example shows every trained turn as it would be sampled, unless a later message changes how an earlier one is
written (a family drops the reasoning of earlier turns). Then the conversation becomes several, as few as can.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from kernel.conversation import Conversation, at_origin, last_user, parts_of
from kernel.enums import TrainOnWhat
from kernel.errors import InputError, expected
from kernel.ragged_batches import Examples, Ragged
from kernel.render.cached_programs import (
    Example,
    ProgramBuilder,
    Prompt,
    Skeleton,
    build_skeleton,
    pattern,
    pattern_with_trainable,
)
from kernel.render.message_weights import check_kept, check_turns, has_weights, unweighted
from kernel.render.token_program import TokenProgram, assemble, encode_constants
from kernel.renderer_language.compiler import (
    CompiledConversation,
    CompiledMessage,
    MessageCompiler,
    prepared,
    same_output,
    with_reasoning,
)
from kernel.renderer_language.interpreter import Element, SpanKind
from kernel.renderer_language.pieces import Renderer

SPLITTABLE = frozenset(
    (TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.LAST_ASSISTANT_TURN, TrainOnWhat.ALL_ASSISTANT_MESSAGES)
)
"""The modes that train what sampling produces; the others weigh messages that no prompt ends at."""
MAX_SKELETONS = 10_000  # how many patterns are cached before the cache is emptied


class BatchRenderer:
    """Renders conversations with one renderer; caches compiled messages and skeletons.

    Args:
        renderer: the chat format.
        split_turns: whether a conversation may become several examples; False keeps the reference's single one.
    """

    def __init__(self, renderer: Renderer, split_turns: bool = True) -> None:
        self.renderer, self.split_turns = renderer, split_turns
        self._compiler = MessageCompiler(renderer)
        self._skeletons: dict[tuple[TrainOnWhat, Hashable], Skeleton] = {}
        self._caches_patterns = getattr(renderer.turn_starts_after, "by_roles", False)

    @property
    def constant_texts(self) -> list[tuple[SpanKind, str]]:
        """The constant texts met so far, a control token by name or a template text each. It only ever grows."""
        return self._compiler.constant_texts

    def render(
        self, conversations: Sequence[Conversation], mode: TrainOnWhat, places: Sequence[str] | None = None
    ) -> TokenProgram:
        """The program of these conversations, at least one example each.

        Args:
            conversations: n conversations of at least one message.
            mode: which tokens are trained, where a message has no `trainable` of its own.
            places: where each comes from, for errors.

        The weight of a message is a factor on its token weights, that of a part on the tokens of its text, before any
        reduction. With `split_turns`, what the prompt of a trained turn supplies has weight 0.

        Raises:
            InputError: for a conversation that the format cannot write or the mode cannot train, with its location.

        >>> from kernel.conversation import Message
        >>> from kernel.renderers.plain_text import ROLE_COLON
        >>> talk = (Message("user", "2+2?"), Message("assistant", "4"))
        >>> program = BatchRenderer(ROLE_COLON).render([talk], TrainOnWhat.ALL_ASSISTANT_MESSAGES)
        >>> program.texts, program.ops.tolist(), program.weights.tolist()
        ([' 2+2?\\n\\n', ' 4\\n\\nUser:'], [0, -1, 1, -1], [0.0, 0.0, 0.0, 1.0])
        """
        where = places if places is not None else ["$"] * len(conversations)
        builder = ProgramBuilder()
        add, skeleton_of = builder.add, self._skeleton
        for conversation, at in zip(conversations, where, strict=True):
            try:
                skeleton, ready, weighted = skeleton_of(conversation, mode, at)
                add(skeleton, ready, weighted)
            except InputError as error:
                raise at_origin(error.under(at), conversation) from None
        unchecked = self.renderer.refuses_reasoning and not self.split_turns
        return builder.program(where, self.renderer.name if unchecked else "")

    def prompts(self, conversations: Sequence[Conversation], prefill: str = "") -> TokenProgram:
        """The program of the prompts before the turn that follows each conversation; all weights are 0."""
        builder = ProgramBuilder()
        for conversation in conversations:
            ready = prepared(self.renderer, conversation)
            compiled = CompiledConversation(self._compiler, ready, "$", len(ready) - len(conversation))
            *messages, cue = compiled.prompt(len(ready))
            if prefill:
                cue = cue.followed_by(self._compiler.compiled([Element(SpanKind.MESSAGE, prefill, False)]))
            example = Example([*messages, cue], [False] * (len(messages) + 1))
            builder.add(build_skeleton(self._compiler.bos, [example], ready, self.constant_texts), ready)
        return builder.program(["$"] * len(conversations), "")

    def _skeleton(
        self, conversation: Conversation, mode: TrainOnWhat, at: str
    ) -> tuple[Skeleton, Conversation, Conversation | None]:
        """The skeleton of a conversation, the conversation as the renderer wants it, and the same with its weights."""
        if mode is TrainOnWhat.CUSTOMIZED:
            check_trainable(conversation, at)
        ready = prepared(self.renderer, conversation)
        like, weighted = pattern(ready) if self._caches_patterns else None, None
        if like is None or (ready is not conversation and has_weights(conversation)):
            if any(message.weight != 1.0 or message.trainable is not None for message in ready):
                check_turns(conversation, ready, trained(mode, ready, 0), self.renderer.name)
            if has_weights(conversation):  # what is written is that of the conversation without weights
                weighted, ready = ready, prepared(self.renderer, unweighted(conversation))
                check_kept(with_reasoning(self.renderer, conversation), weighted, ready, self.renderer.name)
            like = pattern_with_trainable(ready) if self._caches_patterns else None
        skeleton = None if like is None else self._skeletons.get((mode, like))
        if skeleton is None:
            compiled = CompiledConversation(self._compiler, ready, at, len(ready) - len(conversation))
            examples = self._examples(compiled, mode)
            everything = mode is TrainOnWhat.ALL_TOKENS
            skeleton = build_skeleton(self._compiler.bos, examples, ready, self.constant_texts, everything)
            if like is not None:
                if len(self._skeletons) >= MAX_SKELETONS:
                    self._skeletons.clear()
                self._skeletons[mode, like] = skeleton
        return skeleton, ready, weighted

    def _examples(self, compiled: CompiledConversation, mode: TrainOnWhat) -> list[Example]:
        """The examples that a conversation becomes, in the order of the turns they train."""
        ready = compiled.conversation
        turn_start = self.renderer.turn_start(ready[:-1]) if mode is TrainOnWhat.LAST_ASSISTANT_TURN else 0
        on, start = trained(mode, ready, turn_start), produced_from(mode, ready)
        whole = compiled.example(len(ready))
        prompts: list[Prompt] = []
        if start is not None:
            chosen = any(message.trainable for message in ready[:start])
            prompts.append(_prompt(compiled, whole, start, start if chosen else -1))
        if self.split_turns and mode in SPLITTABLE:
            if self.renderer.refuses_reasoning:
                self._refuse_reasoning(compiled, on)
            turns = [i for i, hit in enumerate(on) if hit]
            if turns not in ([], [len(ready) - 1]) and self._compiler.looks_ahead(ready):
                examples = _split(compiled, turns, whole)
                if start is None or len(examples) > 1 or examples[0].compiled is not whole:
                    return examples
            prompts += [_prompt(compiled, whole, turn, turn) for turn in turns if turn != start]
        return [Example(whole, on, prompts)]

    def _refuse_reasoning(self, compiled: CompiledConversation, on: list[bool]) -> None:
        for i, (message, hit) in enumerate(zip(compiled.conversation, on, strict=True)):
            if hit and any(part.kind == "thinking" for part in parts_of(message)):
                wanted = f"a turn without reasoning ({self.renderer.name} closes the block of reasoning in its prompt)"
                raise compiled.located(expected(wanted, "one that reasons"), i)


def render_examples(
    renderer: Renderer,
    conversations: Sequence[Conversation],
    mode: TrainOnWhat,
    encode: Callable[[list[str]], Ragged],
    control_ids: Mapping[str, int],
    *,
    split_turns: bool = True,
    image_length: Callable[[str], int] | None = None,
    places: Sequence[str] | None = None,
) -> Examples:
    """Tokens and weights of conversations, with any tokenizer.

    Args:
        renderer: the chat format.
        conversations: n conversations of at least one message.
        mode: which tokens are trained, where a message has no `trainable` of its own. The weights of messages and
            parts are factors on their token weights.
        encode: texts to ids, literally: what spells a control token must stay text, and nothing is added around it.
        control_ids: the id of each of `renderer.controls`.
        split_turns: whether a conversation may become several examples.
        image_length: how many tokens the image of a `Part` takes; needed where there are images.
        places: where each conversation comes from, for errors.

    Returns:
        At least one example per conversation; `rows` are the numbers of their conversations.

    Raises:
        InputError: for a conversation that the format cannot write or the mode cannot train, with its location; a
            control token without an id; images without `image_length`.

    >>> from kernel.conversation import Message
    >>> from kernel.renderers.llama3 import LLAMA3
    >>> def encode(texts: list[str]) -> Ragged:
    ...     ids = np.frombuffer("".join(texts).encode(), np.uint8).astype(np.int32)
    ...     return Ragged(ids, np.cumsum([0, *(len(text.encode()) for text in texts)]))
    >>> talk = (Message("user", "<|eot_id|>"), Message("assistant", "4"))
    >>> control_ids = {name: 1000 + i for i, name in enumerate(LLAMA3.controls)}
    >>> examples = render_examples(LLAMA3, [talk], TrainOnWhat.LAST_ASSISTANT_MESSAGE, encode, control_ids)
    >>> examples.tokens[examples.weights > 0].tolist() == [ord("4"), control_ids["<|eot_id|>"]]
    True
    """
    batch_renderer = BatchRenderer(renderer, split_turns)
    program = batch_renderer.render(conversations, mode, places)
    if program.images and image_length is None:
        raise expected("image_length, as there are images", "None")
    lengths = np.array([image_length(image) for image in program.images], np.int64) if image_length else None
    constants = encode_constants(batch_renderer.constant_texts, encode, control_ids)
    return assemble(program, constants, encode(program.texts), lengths)


def _split(compiled: CompiledConversation, turns: list[int], whole: list[CompiledMessage]) -> list[Example]:
    """As few examples as show every trained turn as it would be sampled, found from the last turn backward."""
    examples: list[Example] = []
    example, left, n_before = whole, turns, 0
    while left:
        n = len(example)
        if n_before and compiled.same_prefix(n, n_before):  # it shows no more of them than the example before did
            shown = left[-1:]
        else:
            shown = [turn for turn in left if compiled.shows(turn, n)]
        if shown:
            on = [False] * n
            for turn in shown:
                on[turn] = True
            prompts = [_prompt(compiled, example, turn, turn) for turn in shown]
            examples.append(Example(example, on, prompts))
            left = left[:-1] if len(shown) == 1 and shown[0] == left[-1] else [turn for turn in left if not on[turn]]
        if left:
            n_before = n
            example = compiled.example(left[-1] + 1, longer=example)
    return examples[::-1]


def _prompt(compiled: CompiledConversation, example: list[CompiledMessage], start: int, since: int) -> Prompt:
    """The prompt of the first `start` messages, so that what it supplies from message `since` on is not trained."""
    # an example that shows the turn at `start` writes what precedes it as an example that ends with the turn does
    is_shown = since == start > 0 and compiled.same_prefix(start, start + 1, is_example=False)
    n_shared = start - 1 if is_shown else 0
    rest = compiled.prompt(start, n_shared)
    n_alike = 0
    while n_alike < min(len(rest) - 1, len(example) - n_shared) and same_output(
        rest[n_alike], example[n_shared + n_alike]
    ):
        n_alike += 1
    return Prompt(since, n_shared + n_alike, rest[n_alike:])


def trained(mode: TrainOnWhat, conversation: Conversation, turn_start: int) -> list[bool]:
    """Whether each message of a (prepared) conversation is trained: its `trainable`, or without one as the mode says.

    `turn_start` is where the produced turn starts.
    """
    match mode:
        case TrainOnWhat.ALL_ASSISTANT_MESSAGES:
            on = [message.role == "assistant" for message in conversation]
        case TrainOnWhat.LAST_ASSISTANT_MESSAGE:
            on = [m.role == "assistant" and i == len(conversation) - 1 for i, m in enumerate(conversation)]
        case TrainOnWhat.LAST_ASSISTANT_TURN:
            on = [m.role == "assistant" and i >= turn_start for i, m in enumerate(conversation)]
        case TrainOnWhat.ALL_MESSAGES | TrainOnWhat.ALL_TOKENS:
            on = [True] * len(conversation)
        case TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES:
            on = [message.role in ("user", "system") for message in conversation]
        case TrainOnWhat.CUSTOMIZED:
            on = [False] * len(conversation)
    return [hit if m.trainable is None else m.trainable for hit, m in zip(on, conversation, strict=True)]


def check_trainable(conversation: Conversation, at: str) -> None:
    """Refuse a message without `trainable`, as CUSTOMIZED does. Raises: InputError."""
    for i, message in enumerate(conversation):
        if message.trainable is None and message.content != ():  # one that the row has no element for
            path = ("messages", i, "trainable")
            raise expected("true or false on every message (customized)", "nothing", at, path)


def produced_from(mode: TrainOnWhat, conversation: Conversation) -> int | None:
    """Index of the message that sampling would start with, from which on what the prompt supplies has weight 0.

    None where that message is not the assistant's, and for modes that do not train what sampling produces.
    """
    if mode is TrainOnWhat.LAST_ASSISTANT_MESSAGE:
        at = len(conversation) - 1
    elif mode is TrainOnWhat.LAST_ASSISTANT_TURN:
        at = last_user(conversation) + 1
    else:
        return None
    return at if 0 <= at < len(conversation) and conversation[at].role == "assistant" else None
