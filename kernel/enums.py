"""The words a user types for an option, each an enum whose values they are."""

from enum import StrEnum


class TrainOnWhat(StrEnum):
    """Which tokens are trained."""

    LAST_ASSISTANT_MESSAGE = "last_assistant_message"  # the last message, if it is the assistant's
    LAST_ASSISTANT_TURN = "last_assistant_turn"  # the assistant's messages after the last user message
    ALL_ASSISTANT_MESSAGES = "all_assistant_messages"  # every message of the assistant's
    ALL_MESSAGES = "all_messages"  # every message, without the headers that the renderer writes
    ALL_TOKENS = "all_tokens"  # everything but the token that opens the sequence
    ALL_USER_AND_SYSTEM_MESSAGES = "all_user_and_system_messages"  # every message of the user's and the system's
    CUSTOMIZED = "customized"  # the messages with `trainable: true`; every message must have the field


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


class Follow(StrEnum):
    """Whose way of writing a format takes where the two differ: tinker-cookbook's, or the model's public template's."""

    REFERENCE = "reference"
    TEMPLATE = "template"


class Order(StrEnum):
    """The order of rows: shuffled as `datasets` does, or in constant memory; or as they are in the file."""

    HF = "hf"
    CIPHER = "cipher"
    FILE = "file"


class MixStopping(StrEnum):
    """When a mixture of sources ends."""

    ALL_EXHAUSTED = "all_exhausted"  # when every source has given all its rows; an exhausted one begins again
    FIRST_EXHAUSTED = "first_exhausted"  # when one source has given all its rows
    ALL_EXHAUSTED_WITHOUT_REPLACEMENT = "all_exhausted_without_replacement"  # every row once


class DatasetFormat(StrEnum):
    """The form of rows, see `kernel.dataset_formats`; AUTO: each row's keys decide."""

    AUTO = "auto"
    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"
    DOLLY = "dolly"  # instruction, context, response
    QUESTION_ANSWER = "question_answer"
    QUERY_RESPONSE = "query_response"  # with history
    INPUT_OUTPUT = "input_output"
    GLAIVE = "glaive"  # system and chat, each one text
    XLAM = "xlam"  # query, tools, answers
    GEMINI = "gemini"  # contents
    PREFERENCE = "preference"  # the preferred of two answers; never by the keys alone


class UnknownKeys(StrEnum):
    """What happens to a key that holds something and that nothing reads, see `kernel.row_keys`."""

    REFUSE = "refuse"
    IGNORE = "ignore"
