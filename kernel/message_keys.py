"""Keys within a row: of messages, parts, calls and tools, which may be ignored and which are refused."""

import difflib
from collections.abc import Mapping

from kernel.enums import UnknownKeys
from kernel.errors import problem
from kernel.row_keys import IGNORABLE, holds

_ROWS_ALONE = {"file", "file_name", "filename", "file_path", "link", "links", "uri", "url", "urls", "kind", "type"}
_WITHIN = """
annotations author_id avatar cache_control citations create_time detail hashed_ip is_error logprobs msg_id object
parent parent_message_id position provider redacted request_id response_metadata signature status step_id
system_fingerprint thought_signature thoughtsignature trace_id ts turn turn_id turn_identifier update_time updated
usage_metadata word_count
"""
IGNORED = IGNORABLE - _ROWS_ALONE | frozenset(_WITHIN.split())
"""keys that carry no content within a row, in lower case: most of those of rows, and a few more"""
NEVER_IGNORED = frozenset(
    {
        *("mask", "masks", "label_mask", "labels", "train_mask", "assistant_masks", "completion_mask"),
        *("token_weights", "weights", "train_detail", "training_detail", "prefix", "partial"),
    }
)
"""Keys that ask for another training text or mask in ways that are not read: refused under every setting."""


class MessageKeys:
    """What is done with keys that are not read in one row; `ignored` has the paths of those that were ignored.

    >>> keys = MessageKeys(UnknownKeys.IGNORE)
    >>> keys.check({"role": "user", "id": 7, "mood": "glad"}, frozenset({"role"}), "messages[]")
    >>> keys.ignored
    ['messages[].id', 'messages[].mood']
    """

    def __init__(self, unknown: UnknownKeys = UnknownKeys.REFUSE) -> None:
        self.unknown = unknown
        self._ignored: dict[str, None] = {}

    @property
    def ignored(self) -> list[str]:
        return list(self._ignored)

    def check(self, given: Mapping[str, object], read: frozenset[str], where: str) -> None:
        """Refuse the keys that hold something and are not read, or note them; `where`: `messages[].content[]`."""
        if given.keys() <= read:
            return
        for key, value in given.items():
            if key in read or not holds(value):
                continue
            if key in NEVER_IGNORED:
                what = "asks for another mask or text and is not read"
                raise problem(f"the key {key!r} {what} (remove it, and say `weight` or `trainable`)", path=(key,))
            if self.unknown != UnknownKeys.IGNORE and str(key).lower() not in IGNORED:
                near = difflib.get_close_matches(str(key), sorted(read), n=1, cutoff=0.7)
                hint = f"did you mean {near[0]!r}? if not, remove it" if near else "remove it"
                raise problem(f"the key {key!r} is not read ({hint}, or pass --unknown-keys ignore)", path=(key,))
            self.note(f"{where}.{key}")

    def note(self, path: str) -> None:
        """This path of the row is ignored."""
        self._ignored[path] = None
