"""A tokenizer with added tokens of plain text."""

import json

from shell.text.tokenizer import SAMPLE


def with_runs_of_spaces() -> bytes:
    """A tokenizer whose added tokens include plain text: two and four spaces, between control tokens."""
    spec = json.loads(SAMPLE.read_bytes())
    first = 1 + max(spec["model"]["vocab"].values())
    contents = ["<|a|>", "  ", "<|b|>", "    "]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    spec["added_tokens"] = [{"id": first + i, "content": content, **flags} for i, content in enumerate(contents)]
    return json.dumps(spec).encode()
