"""Keys of rows: a closed list. A reader knows the keys it reads, and says so to a `KeyPolicy` for each object.

Of the other keys a short list is ignored, as they carry no content, and counted; any other that holds something is
refused with its path, or under `--unknown-keys ignore` counted too.
"""

from collections import Counter
from collections.abc import Container, Mapping

from kernel.enums import UnknownKeys
from kernel.errors import problem

_NAMES = """
id ids _id uid uuid guid idx index row row_id row_index sample_id example_id item_id conversation_id conv_id
conversation_hash chat_id dialogue_id dialog_id session_id thread_id prompt_id message_id question_id qid query_id
task_id user_id parent_id hash md5 sha1 sha256 source sources source_id source_url dataset dataset_name dataset_source
dataset_id data_source origin provenance subset split config version revision license licence url urls link links uri
file file_name filename file_path repo language languages lang locale country category categories subcategory topic
topics tag tags domain domains task tasks task_type task_name type kind genre subreddit difficulty level model models
model_name model_id teacher_model generator generated_by created_by annotator annotator_id annotators author score
scores rating ratings reward rewards rank quality score_chosen score_rejected likes votes upvotes downvotes similarity
confidence perplexity ppl length lengths num_tokens n_tokens token_count tokens_count num_turns n_turns turn_count
toxic toxicity redacted openai_moderation detoxify_moderation moderation embedding embeddings vector date dates
datetime time timestamp timestamps created created_at updated_at year metadata meta __index_level_0__
parallel_tool_calls tool_choice temperature top_p top_k max_tokens max_completion_tokens stop stop_sequences stream
finish_reason stop_reason stop_sequence usage
"""
IGNORABLE = frozenset(_NAMES.split())
"""keys that carry no content, in lower case"""
_MASKS = "mask masks label_mask train_mask assistant_mask assistant_masks completion_mask token_weights weights"
MASKS = frozenset(_MASKS.split())
"""keys of a row that ask for another mask in ways that are not read: refused under every setting"""
_EMPTY = ("", "[]", "{}", "null", "none", "[[]]")


def holds(value: object) -> bool:
    """Whether a value says anything: nothing, in whatever spelling, does not.

    >>> [holds(value) for value in (None, "", "[]", " null ", [], {}, 0, False, "no")]
    [False, False, False, False, False, False, True, True, True]
    """
    if isinstance(value, str):
        return len(value) > 8 or value.strip().lower() not in _EMPTY
    return value is not None and value != [] and value != {}


class KeyPolicy:
    """What happens to keys that are not read; `counts` has those that were ignored, by name: "messages[].id"."""

    def __init__(self, unknown: UnknownKeys = UnknownKeys.REFUSE) -> None:
        self.unknown = unknown
        self.counts: Counter[str] = Counter()

    def check(self, given: Mapping[str, object], read: Container[str], label: str = "") -> None:
        """Counts the keys of an object that are ignored; raises InputError, its path the key, for one that is refused.

        Args:
            read: the keys that a reader of such an object reads.
            label: where such objects are in a row, for the counts: "messages[].".

        >>> policy = KeyPolicy()
        >>> policy.check({"role": "user", "id": 7, "name": None, "mood": ""}, ("role", "content"), "messages[].")
        >>> policy.counts
        Counter({'messages[].id': 1})
        >>> policy.check({"role": "user", "context": "C"}, ("role", "content"))
        Traceback (most recent call last):
        kernel.errors.InputError: nothing reads the key 'context': name what it is with --dataset-map, or leave it \
out with --unknown-keys ignore - at $.context
        """
        for key, value in given.items():
            if key in read or not holds(value):
                continue
            if key in MASKS:
                raise problem(f"the key {key!r} asks for another mask and is not read (remove it)", path=(key,))
            if key.lower() not in IGNORABLE and self.unknown is not UnknownKeys.IGNORE:
                way = "name what it is with --dataset-map, or leave it out with --unknown-keys ignore"
                raise problem(f"nothing reads the key {key!r}: {way}", path=(key,))
            self.counts[f"{label}{key}"] += 1


def ignored_keys(counts: Mapping[str, int]) -> str:
    """The keys that were ignored, in words, the most frequent first.

    >>> ignored_keys({"id": 3, "source": 1000, "messages[].id": 1})
    'source in 1,000 rows, id in 3 rows, messages[].id in 1 row'
    """
    pairs = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} in {n:,} row{'s' * (n != 1)}" for name, n in pairs)
