"""Tokenizers: text stays text, ids stay what the file says, and bytes are counted without decoding."""

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from kernel.errors import InputError
from kernel.parse_response.common import Segment
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS, find_renderer
from shell.text.tokenizer import SAMPLE, Tokenizer, open_tokenizer
from tests.shell.sample.train_tokenizer import control_tokens
from tests.shell.text.spaced import with_runs_of_spaces

TOKENIZER = open_tokenizer("sample")
PLAIN = Backend.from_file(str(SAMPLE))
spelled = st.sampled_from(sorted(TOKENIZER.controls))
texts = st.lists(st.text(max_size=8) | spelled, max_size=5).map("".join)


@given(st.lists(texts, max_size=4))
def test_no_text_becomes_a_control_token_and_every_text_comes_back(said: list[str]) -> None:
    encoded = TOKENIZER.encode(said)
    assert not np.isin(encoded.ids, list(TOKENIZER.controls.values())).any()
    lists = [encoded.ids[a:b] for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    assert [TOKENIZER.decode(one) for one in lists] == said


@given(st.text())
def test_ids_of_plain_text_are_those_of_the_whole_tokenizer(said: str) -> None:
    assume(not any(name in said for name in TOKENIZER.controls))
    assert TOKENIZER.encode([said]).ids.tolist() == PLAIN.encode(said, add_special_tokens=False).ids


@given(st.text())
def test_bytes_of_ids_add_up_to_the_bytes_of_the_text(said: str) -> None:
    assert TOKENIZER.n_bytes[TOKENIZER.encode([said]).ids].sum() == len(said.encode())


def test_special_tokens_count_no_bytes_and_other_controls_their_own() -> None:
    assert TOKENIZER.n_bytes[TOKENIZER.controls["<|endoftext|>"]] == 0
    assert TOKENIZER.n_bytes[TOKENIZER.controls["<think>"]] == len("<think>")


def test_the_tokenizer_in_the_box_has_every_control_token_and_the_script_made_it() -> None:
    assert list(TOKENIZER.controls) == control_tokens()
    for renderer in RENDERERS.values():
        TOKENIZER.check_controls(renderer.name, renderer.controls)


def test_static_runs_are_control_ids_or_encoded_text() -> None:
    runs = [(SpanKind.CONTROL, "<|im_start|>"), (SpanKind.TEMPLATE, "user\n"), (SpanKind.TEMPLATE, "<|im_start|>")]
    ids = TOKENIZER.encode_constants(runs)
    assert ids.ids[0] == TOKENIZER.controls["<|im_start|>"]
    assert TOKENIZER.decode(ids.ids[ids.offsets[1] : ids.offsets[2]]) == "user\n"
    assert TOKENIZER.controls["<|im_start|>"] not in ids.ids[ids.offsets[2] :]


def test_sampled_ids_are_cut_at_control_ids_alone() -> None:
    ids = [*TOKENIZER.encode(["a<|im_end|>é"]).ids.tolist(), TOKENIZER.controls["<|im_end|>"]]
    assert TOKENIZER.segments(ids) == [
        Segment(SpanKind.MESSAGE, "a<|im_end|>é"),
        Segment(SpanKind.CONTROL, "<|im_end|>"),
    ]


def test_stops_are_ids_where_the_format_has_control_tokens_and_text_where_not() -> None:
    assert TOKENIZER.stops(find_renderer("qwen3")) == [TOKENIZER.controls["<|im_end|>"]]
    assert TOKENIZER.stops(find_renderer("role_colon")) == ["\n\nUser:"]


def test_added_tokens_that_are_white_space_stay_text_with_their_ids() -> None:
    tokenizer = Tokenizer(with_runs_of_spaces())
    whole = Backend.from_str(with_runs_of_spaces().decode())
    said = "x  y    z"
    assert tokenizer.encode([said]).ids.tolist() == whole.encode(said, add_special_tokens=False).ids
    assert set(tokenizer.controls) == {"<|a|>", "<|b|>"}
    assert not np.isin(tokenizer.encode(["<|a|><|b|>"]).ids, list(tokenizer.controls.values())).any()


def test_a_placeholder_of_a_taken_out_token_cannot_be_typed() -> None:
    tokenizer = Tokenizer(with_runs_of_spaces())
    mark = f"\ufdd0{tokenizer.controls['<|a|>']}\ufdd1"
    with pytest.raises(InputError, match="placeholder"):
        tokenizer.encode([mark])


def test_a_tokenizer_that_lacks_control_tokens_is_refused_by_name() -> None:
    tokenizer = Tokenizer(with_runs_of_spaces(), "mine.json")
    with pytest.raises(InputError, match=r"control tokens of llama3, got mine\.json without <\|begin_of_text\|>"):
        tokenizer.check_controls("llama3", find_renderer("llama3").controls)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not json", b'{"model": {"vocab": {}}}', b'{"model": 3}'])
def test_what_is_no_tokenizer_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected a tokenizer"):
        open_tokenizer(str(path)).encode(["a"])


@pytest.mark.parametrize("spec", ["missing.json", "/no/such/tokenizer", "one-word", "a/b/c"])
def test_what_names_no_tokenizer_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"expected a tokenizer: .* - at --tokenizer"):
        open_tokenizer(spec)


def test_a_repository_that_cannot_be_reached_is_told_once_and_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"could not fetch .* \(no answer from http://127\.0\.0\.1:1 .* --tokenizer$"):
        open_tokenizer(f"nobody/{tmp_path.name}")
    assert capfd.readouterr() == ("", "")


def test_a_folder_stands_for_the_tokenizer_in_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(SAMPLE.read_bytes())
    assert open_tokenizer(str(tmp_path)).controls == TOKENIZER.controls
