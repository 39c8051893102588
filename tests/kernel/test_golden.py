"""Every renderer still writes what it wrote when parity with the reference was shown."""

import pytest

from kernel.renderers import RENDERERS
from shell.text.tokenizer import open_tokenizer
from tests.golden.cases import CASES
from tests.golden.renders import ids_of, path_of, read, spans_of

TOKENIZERS = {choice: open_tokenizer("sample", encoder=choice) for choice in ("tokenizers", "fast")}


@pytest.mark.parametrize("name", RENDERERS)
def test_spans_kinds_and_weights_are_the_golden_ones(name: str) -> None:
    golden = read(name)
    assert list(golden) == list(CASES)
    for case, kept in golden.items():
        assert spans_of(RENDERERS[name], case) == kept["spans"], case


@pytest.mark.parametrize("encoder", TOKENIZERS)
@pytest.mark.parametrize("name", RENDERERS)
def test_ids_of_the_tokenizer_in_the_box_are_the_golden_ones(name: str, encoder: str) -> None:
    for case, kept in read(name).items():
        assert ids_of(RENDERERS[name], case, TOKENIZERS[encoder]) == kept["ids"], case


def test_there_is_a_golden_file_for_every_renderer_and_no_other() -> None:
    assert {path.stem for path in path_of("x").parent.glob("*.json")} == set(RENDERERS)
