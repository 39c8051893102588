"""What `recipes/show.py` can be asked: the settings of a look at examples. `shell.preview` takes the look."""

from typing import Annotated, ClassVar, Literal

from msgspec import Struct

from shell.settings.config import Count, DatasetFormat, Length, Reduction, Text, TrainOnWhat
from shell.settings.fields import doc

N_SHOWN = 10


class ShowConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Show conversations as the model will see them."""

    headings: ClassVar[dict[str, str]] = {"dataset": "Data", "model_name": "Model", "limit": "Output"}
    examples: ClassVar[tuple[str, ...]] = (
        "--dataset chats.jsonl --model-name Qwen/Qwen3-8B",
        "--dataset chats.jsonl --renderer-name llama3 --tokenizer tokenizer.json --format json",
    )

    dataset: Annotated[Text, doc("no_robots, tulu3, sample, FILE or hf:REPO", "DATA")] = "sample"
    dataset_config: Annotated[Text | None, doc("configuration of an hf: dataset", "NAME")] = None
    dataset_split: Annotated[Text, doc("split of an hf: dataset", "NAME")] = "train"
    dataset_column: Annotated[Text, doc("column that holds the messages", "NAME")] = "messages"
    dataset_format: Annotated[DatasetFormat, doc("shape of the rows; auto: each says", "SHAPE")] = "auto"
    max_bad_rows: Annotated[Count, doc("rows of a source that may be unreadable")] = 0
    train_on_what: Annotated[TrainOnWhat | None, doc("by default the dataset's own; or", "WHAT")] = None
    max_length: Annotated[Length | None, doc("tokens after which an example is cut")] = None
    reduction: Annotated[Reduction, doc("each example weighs 1 (mean), or each token (none)")] = "mean"
    split_turns: Annotated[Literal["auto", "never"], doc("an example a turn, where needed")] = "auto"
    model_name: Annotated[Text, doc("model whose renderer and tokenizer to use", "NAME")] = "tinsmith/tiny"
    renderer_name: Annotated[Text | None, doc("how a conversation is written", "NAME")] = None
    template_variables: Annotated[Text | None, doc("what hf_template reads besides, as JSON", "JSON")] = None
    tokenizer: Annotated[Text | None, doc("name, or path of a tokenizer.json", "NAME")] = None
    limit: Annotated[Count | None, doc(f"rows to show; by default {N_SHOWN}, or all as json")] = None
    format: Annotated[Literal["text", "json"], doc("for people, or for programs: one object a datum")] = "text"
