"""What is trained: the modes, which messages they train, and the weight of every span.

The modes and their meaning are tinker-cookbook's. A token has weight 1 when the mode trains its message and the model
would sample it there; everything else has weight 0.
"""

from kernel.conversation import Conversation, last_user
from kernel.errors import expected, problem, unknown
from kernel.options import TrainOnWhat as TrainOnWhat


def train_on_what(name: str, at: str = "--train-on-what") -> TrainOnWhat:
    """The mode of that name.

    >>> train_on_what("all_messages")
    <TrainOnWhat.ALL_MESSAGES: 'all_messages'>
    """
    if name not in list(TrainOnWhat):
        raise unknown("train_on_what", name, list(TrainOnWhat), at)
    return TrainOnWhat(name)


def trained(mode: TrainOnWhat, conversation: Conversation, turn_start: int) -> list[bool]:
    """Whether each message of a (prepared) conversation is trained; `turn_start` is where the produced turn starts.

    >>> from kernel.conversation import Message
    >>> trained(TrainOnWhat.ALL_ASSISTANT_MESSAGES, (Message("user", "2+2?"), Message("assistant", "4")), 1)
    [False, True]
    """
    match mode:
        case TrainOnWhat.ALL_ASSISTANT_MESSAGES:
            return [message.role == "assistant" for message in conversation]
        case TrainOnWhat.LAST_ASSISTANT_MESSAGE:
            return [m.role == "assistant" and i == len(conversation) - 1 for i, m in enumerate(conversation)]
        case TrainOnWhat.LAST_ASSISTANT_TURN:
            return [m.role == "assistant" and i >= turn_start for i, m in enumerate(conversation)]
        case TrainOnWhat.ALL_MESSAGES | TrainOnWhat.ALL_TOKENS:
            return [True] * len(conversation)
        case TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES:
            return [message.role in ("user", "system") for message in conversation]
        case TrainOnWhat.CUSTOMIZED:
            return [bool(message.trainable) for message in conversation]


def check_trainable(mode: TrainOnWhat, conversation: Conversation, at: str) -> None:
    """Refuse a conversation whose `trainable` fields do not go with the mode.

    Raises:
        InputError: a message without the field in CUSTOMIZED, or with it in any other mode.
    """
    is_wanted = mode is TrainOnWhat.CUSTOMIZED
    for i, message in enumerate(conversation):
        if (message.trainable is None) is is_wanted:
            i = next(i for i, one in enumerate(conversation) if one is message)
            path = ("messages", i, "trainable")
            if is_wanted:
                raise expected("true or false on every message (customized)", "nothing", at, path)
            raise problem("'trainable' is only used with --train-on-what customized", at, path)


def produced_from(mode: TrainOnWhat, conversation: Conversation) -> int | None:
    """Index of the message that sampling would start with, for the two modes that train what sampling produces.

    What the prompt before that message supplies gets weight 0. None for the other modes, and where that message is not
    the assistant's.

    >>> from kernel.conversation import Message
    >>> produced_from(TrainOnWhat.LAST_ASSISTANT_TURN, (Message("user", "2+2?"), Message("assistant", "4")))
    1
    """
    if mode is TrainOnWhat.LAST_ASSISTANT_MESSAGE:
        at = len(conversation) - 1
    elif mode is TrainOnWhat.LAST_ASSISTANT_TURN:
        at = last_user(conversation) + 1
    else:
        return None
    return at if 0 <= at < len(conversation) and conversation[at].role == "assistant" else None
