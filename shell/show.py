"""What `recipes/show.py` can be asked: the settings of a look at examples. `shell.show_examples` takes the look."""

from typing import Annotated, ClassVar, Literal

from shell.settings.config import Count, CutAnswers, HowTruncated, Length, Reduction, Written
from shell.settings.fields import doc

N_SHOWN = 10


class ShowConfig(Written, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Show conversations as the model will see them."""

    headings: ClassVar[dict[str, str]] = {"dataset": "Data", "model_name": "Model", "max_length": "Output"}
    examples: ClassVar[tuple[str, ...]] = (
        "--dataset chats.jsonl --model-name Qwen/Qwen3-8B",
        "--dataset chats.jsonl --renderer-name llama3 --tokenizer tokenizer.json --format json",
    )

    max_length: Annotated[Length | None, doc("tokens after which an example is cut")] = None
    truncation: Annotated[HowTruncated, doc("of longer ones", "HOW")] = "right"
    cut_answers: Annotated[CutAnswers, doc("an answer without its end")] = "train"
    reduction: Annotated[Reduction, doc("each example weighs 1 (mean), or each token (none)")] = "mean"
    limit: Annotated[Count | None, doc(f"rows to show; by default {N_SHOWN}, or all as json")] = None
    format: Annotated[Literal["text", "json"], doc("for people, or for programs: one object a datum")] = "text"
