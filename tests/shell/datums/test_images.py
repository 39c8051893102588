"""Images of conversations: read, measured, converted where they must be, refused in one sentence."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from kernel.image_tokens import kimi_tokens, qwen_tokens
from kernel.renderer_language.interpreter import SpanKind
from kernel.renderers import RENDERERS, find_renderer
from kernel.row_to_conversation import read_conversation
from shell.datums.images import image_lengths, read_image
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.datums.tinker_datums import datums_to_tinker
from shell.text.tokenizer import open_tokenizer
from tests.spans import write

SEEING = [name for name, renderer in RENDERERS.items() if renderer.image]


def picture(mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (640, 480)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, form)
    return out.getvalue()


def uri(raw: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(raw).decode()


def row(image: str) -> dict[str, object]:
    parts = [{"type": "text", "text": "What is "}, {"type": "image", "image": image}, {"type": "text", "text": "?"}]
    return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "A cat."}]}


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_png_and_jpeg_are_sent_as_they_are(tmp_path: Path, form: str) -> None:
    path = tmp_path / "cat"
    path.write_bytes(picture(form=form))
    image = read_image(str(path))
    assert (image.data, image.format) == (path.read_bytes(), form.lower())
    assert (image.height, image.width) == (480, 640)
    assert read_image(path.as_uri()) == image


@pytest.mark.parametrize(("mode", "form"), [("RGBA", "PNG"), ("P", "PNG"), ("RGB", "GIF"), ("RGB", "BMP")])
def test_other_images_are_converted(mode: str, form: str) -> None:
    image = read_image(uri(picture(mode, form)))
    assert image.format == "png"
    assert Image.open(io.BytesIO(image.data)).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.png", "expected an image file, got No such file"),
        ("https://example.com/cat.png", "by path, file:// or data: URI, got an address"),
        ("data:image/png;base64,!!!", "expected a data: URI"),
        ("data:image/png;base64,aGVsbG8=", "what Pillow cannot read"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_image(name)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((1, 1), 64), ((32, 32), 64), ((255, 257), 64), ((640, 480), 300), ((4000, 3000), 11750), ((100, 20000), 1875)],
)
def test_qwen_counts_merged_patches_between_two_bounds(size: tuple[int, int], tokens: int) -> None:
    assert qwen_tokens(*size) == tokens


def test_an_image_of_extreme_sides_is_refused() -> None:
    with pytest.raises(InputError, match="within 200 times"):
        qwen_tokens(1, 300)


@pytest.mark.parametrize(("size", "tokens"), [((1, 1), 1), ((28, 29), 2), ((640, 480), 414), ((10000, 10000), 4096)])
def test_kimi_pads_to_merged_patches_and_never_enlarges(size: tuple[int, int], tokens: int) -> None:
    assert kimi_tokens(*size) == tokens


@pytest.mark.parametrize("name", SEEING)
def test_a_model_that_sees_is_sent_text_and_image_in_the_messages_order(name: str) -> None:
    renderer, tokenizer = find_renderer(name), open_tokenizer("sample")
    maker = RowRenderer(renderer, tokenizer, RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS))
    image = uri(picture())
    examples = maker.render([row(image)], ["a.jsonl:1"]).examples
    (media,) = examples.media
    n_tokens = int(image_lengths([image], renderer)[0])
    assert media.length == n_tokens
    assert not examples.tokens[media.start : media.start + n_tokens].any()
    assert not examples.weights[media.start : media.start + n_tokens].any()
    before, _, behind = renderer.image.partition("{}")
    assert tokenizer.decode(examples.tokens[: media.start]).endswith(f"What is {before}")
    assert tokenizer.decode(examples.tokens[media.start + n_tokens :]).startswith(f"{behind}?")
    spans = write(renderer, read_conversation(row(image)))
    assert [span.text for span in spans if span.kind is SpanKind.IMAGE] == [image]
    datums = maker.cut(examples, ["a.jsonl:1"])
    (sent,) = datums_to_tinker(datums)
    assert [chunk.type for chunk in sent.model_input.chunks] == ["encoded_text", "image", "encoded_text"]
    assert sent.model_input.length == len(datums.targets) == len(examples.tokens) - 1
    assert not np.any(datums.targets[media.start - 1 : media.start - 1 + n_tokens])


@pytest.mark.parametrize("mode", [TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.ALL_ASSISTANT_MESSAGES])
def test_images_do_not_stand_in_the_way_of_what_is_trained(mode: TrainOnWhat) -> None:
    tokenizer = open_tokenizer("sample")
    maker = RowRenderer(find_renderer(SEEING[0]), tokenizer, RenderSettings(train_on_what=mode))
    examples = maker.render([row(uri(picture()))], ["a.jsonl:1"]).examples
    assert tokenizer.decode(examples.tokens[examples.weights > 0]) == "A cat.<|im_end|>"


def test_a_cut_before_an_image_leaves_it_out_whole() -> None:
    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS, max_length=100)
    maker = RowRenderer(find_renderer(SEEING[0]), open_tokenizer("sample"), settings)
    datums = maker.batch([row(uri(picture()))], ["a.jsonl:1"]).datums
    assert datums.media == ()
    assert datums.n_examples == 1


def test_a_text_renderer_refuses_an_image_by_its_place() -> None:
    settings = RenderSettings(train_on_what=TrainOnWhat.ALL_TOKENS)
    maker = RowRenderer(find_renderer("qwen3"), open_tokenizer("sample"), settings)
    with pytest.raises(InputError, match=r"expected text \(qwen3 is a text renderer\), got an image - at a\.jsonl:1"):
        maker.batch([row("cat.png")], ["a.jsonl:1"])
