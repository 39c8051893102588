"""The words a user types for an option, each an enum whose values they are."""

from enum import StrEnum


class TrainOnWhat(StrEnum):
    """Which tokens are trained."""

    LAST_ASSISTANT_MESSAGE = "last_assistant_message"
    """The last message, if it is the assistant's."""
    LAST_ASSISTANT_TURN = "last_assistant_turn"
    """The assistant's messages after the last user message."""
    ALL_ASSISTANT_MESSAGES = "all_assistant_messages"
    """Every message of the assistant's."""
    ALL_MESSAGES = "all_messages"
    """Every message, without the headers that the renderer writes."""
    ALL_TOKENS = "all_tokens"
    """Everything but the token that opens the sequence."""
    ALL_USER_AND_SYSTEM_MESSAGES = "all_user_and_system_messages"
    """Every message of the user's and the system's."""
    CUSTOMIZED = "customized"
    """The messages with `trainable: true`; every message must have the field."""


class Truncation(StrEnum):
    """What to do with an example that is too long."""

    RIGHT = "right"
    DROP = "drop"
    ERROR = "error"
    KEEP_ANSWER = "keep_answer"


class Reduction(StrEnum):
    """What the weights of an example sum to: 1, or its number of trained tokens."""

    MEAN = "mean"
    NONE = "none"


class Tail(StrEnum):
    """What happens to the last, short batch of an epoch."""

    DROP = "drop"
    KEEP = "keep"


class Order(StrEnum):
    """How rows are shuffled: as `datasets` does, or in constant memory."""

    HF = "hf"
    CIPHER = "cipher"


class MixStopping(StrEnum):
    """When a mixture of sources ends, see `kernel.mixture`."""

    ALL_EXHAUSTED = "all_exhausted"
    FIRST_EXHAUSTED = "first_exhausted"
    ALL_EXHAUSTED_WITHOUT_REPLACEMENT = "all_exhausted_without_replacement"


class DatasetFormat(StrEnum):
    """The form of rows, see `kernel.dataset_formats`; AUTO: each row's keys decide."""

    AUTO = "auto"
    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"
