"""Sampler of one model's weights: messages in, a message out."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernel.conversation import Conversation
from kernel.render.token_program import assemble
from kernel.row_to_conversation import read_conversation
from shell.service.protocol import Sample, SamplingParams
from shell.text.renderer_by_name import Format, batch_renderer_of
from shell.text.tokenizer import Tokenizer
from shell.training.sampling import plain, stops_of

Answers = list[list[int]]
Messages = Sequence[Mapping[str, Any]] | str
"""a conversation as in a row, or the text of one user message"""


class Sampler:
    """Samples answers from fixed weights in the format the model was trained with.

    Args:
        sample: token prompts and parameters to a future of one list of ids per prompt.
        chat_format: writes prompts and reads answers.
        tokenizer: the model's.
        wait: how answers are awaited.

    >>> sampler("What is 2 and 2?")["content"]  # doctest: +SKIP
    '4'
    """

    def __init__(
        self,
        sample: Sample,
        chat_format: Format,
        tokenizer: Tokenizer,
        wait: Callable[[Future[Answers]], Answers] = Future.result,
    ) -> None:
        self._sample, self.chat_format, self.tokenizer, self._wait = sample, chat_format, tokenizer, wait

    def __call__(
        self, messages: Messages, *, max_tokens: int = 256, temperature: float = 0.0, seed: int = 0
    ) -> dict[str, Any]:
        """The answer to one conversation, as a message: role, content, and reasoning_content and tool_calls if any."""
        return self.many([messages], max_tokens=max_tokens, temperature=temperature, seed=seed)[0]

    def many(
        self, conversations: Sequence[Messages], *, max_tokens: int = 256, temperature: float = 0.0, seed: int = 0
    ) -> list[dict[str, Any]]:
        """The answers to n conversations, sampled concurrently.

        Raises:
            InputError: a conversation that is none, or that the format cannot write.
            ServiceFault: the service failed.
        """
        prompts = self.prompts([_read(messages, i) for i, messages in enumerate(conversations)])
        params = SamplingParams(max_tokens, stops_of(self.chat_format, self.tokenizer), temperature, seed)
        answers = self._wait(self._sample(prompts, params))
        return [plain(self.chat_format.parse(self.tokenizer.segments(ids)).message) for ids in answers]

    def prompts(self, conversations: Sequence[Conversation]) -> list[NDArray[np.int32]]:
        """The tokens before the turn that follows each conversation, int32[T] each."""
        batch_renderer = batch_renderer_of(self.chat_format)
        program = batch_renderer.prompts(conversations)
        constants = self.tokenizer.encode_constants(batch_renderer.constant_texts)
        examples = assemble(program, constants, self.tokenizer.encode(program.texts))
        return [
            examples.tokens[start:stop] for start, stop in zip(examples.offsets, examples.offsets[1:], strict=False)
        ]


def _read(messages: Messages, number: int) -> Conversation:
    rows = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return read_conversation({"messages": rows}, at=f"conversation {number}")
