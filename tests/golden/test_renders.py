"""Every renderer still writes what it wrote when parity with the reference was shown."""

from difflib import unified_diff

import numpy as np
import pytest

from tests.golden.engine import RENDERERS, encoded, open_tokenizer
from tests.golden.renders import golden, path_of, read

TOKENIZERS = {choice: open_tokenizer("sample", encoder=choice) for choice in ("tokenizers", "fast")}


@pytest.mark.parametrize("name", RENDERERS)
def test_renders_are_the_golden_ones(name: str) -> None:
    kept, now = read(name), list(golden(RENDERERS[name], TOKENIZERS["tokenizers"]))
    if kept != now:
        diff = unified_diff(kept, now, str(path_of(name)), "now", lineterm="")
        pytest.fail("\n".join(diff), pytrace=False)


@pytest.mark.parametrize("name", RENDERERS)
def test_both_encoders_give_the_same_tokens_and_weights(name: str) -> None:
    slow, fast = ([one for own in encoded(RENDERERS[name], t) for one in own] for t in TOKENIZERS.values())
    assert len(slow) == len(fast)
    for a, b in zip(slow, fast, strict=True):
        assert type(a) is type(b)
        if isinstance(a, str) or isinstance(b, str):
            assert a == b
        else:
            assert all(map(np.array_equal, a, b))


def test_there_is_a_golden_file_for_every_renderer_and_no_other() -> None:
    assert {path.stem for path in path_of("x").parent.glob("*.txt")} == set(RENDERERS)
