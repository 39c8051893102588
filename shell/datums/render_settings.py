"""The settings that decide the examples of rows: one record for training, showing, preparing and the token cache."""

from dataclasses import dataclass, replace
from typing import Any

from kernel.enums import Reduction, TrainOnWhat, Truncation, UnknownKeys
from kernel.length_limit import LengthPolicy


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What decides the examples of rows, beside the chat format and the tokenizer."""

    train_on_what: TrainOnWhat
    max_length: int | None = None
    """the most tokens of an example; None: any number"""
    reduction: Reduction = Reduction.MEAN
    column: str = "messages"
    """the rows' key of messages"""
    unknown_keys: UnknownKeys = UnknownKeys.REFUSE
    """what happens to keys of messages that nothing reads"""
    split_turns: bool = True
    """whether a conversation may become several examples"""
    length_policy: LengthPolicy = LengthPolicy()  # noqa: RUF009 - immutable
    lenient: bool = False
    """whether a row that cannot be used is set aside, with its reason, rather than raised"""

    @property
    def shortened_to(self) -> int | None:
        """The length to which prompts are shortened before examples are rendered; None: they are not."""
        return self.max_length if self.length_policy.truncation is Truncation.KEEP_ANSWER else None

    @property
    def of_cache(self) -> "RenderSettings":
        """The same for a token cache, which holds examples before they are cut and reduced."""
        policy = LengthPolicy(Truncation.RIGHT if self.shortened_to is None else Truncation.KEEP_ANSWER)
        return replace(self, max_length=self.shortened_to, reduction=Reduction.MEAN, length_policy=policy, lenient=True)


def render_settings(config: Any, mode: TrainOnWhat) -> RenderSettings:
    """The settings that the config of any recipe gives; what it does not have is as by default."""
    trains_cut = getattr(config, "cut_answers", "train") == "train"
    return RenderSettings(
        train_on_what=mode,
        max_length=config.max_length,
        reduction=getattr(config, "reduction", Reduction.MEAN),
        column=config.dataset_column,
        unknown_keys=config.unknown_keys,
        split_turns=config.split_turns == "auto",
        length_policy=LengthPolicy(
            Truncation(config.truncation), trains_cut, getattr(config, "zero_loss", "skip") == "send"
        ),
        lenient=config.max_bad_rows > 0,
    )
