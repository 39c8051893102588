"""Images of a row: each at its place in the text, and none without one."""

import pytest

from kernel.dataset_formats import to_messages
from kernel.errors import InputError
from kernel.row_to_conversation import read_conversation


def parts(row):
    """Kind and text of all parts of all messages."""
    read = read_conversation(to_messages(row, "f:1"), "f:1")
    return [
        ("text", one.content) if isinstance(one.content, str) else [(part.kind, part.text) for part in one.content]
        for one in read
    ]


def user(content):
    return [{"role": "user", "content": content}]


IMAGE = ("image", "a.png")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": user("<image>Q"), "images": ["a.png"]}, [IMAGE, ("text", "Q")]),
        ({"messages": user("Q<image>"), "image": "a.png"}, [("text", "Q"), IMAGE]),
        ({"messages": user("x <image> y <image>"), "images": '["a.png", "b.png"]'},
         [("text", "x "), IMAGE, ("text", " y "), ("image", "b.png")]),
        ({"messages": user([{"type": "image"}, {"type": "text", "text": "Q"}]), "images": ["a.png"]},
         [IMAGE, ("text", "Q")]),
        ({"messages": user([{"type": "text", "text": "<image>Q"}]), "images": [{"path": "a.png"}]},
         [IMAGE, ("text", "Q")]),
        ({"conversations": [{"from": "human", "value": "<image>\nQ"}], "image": "a.png", "id": "1"},
         [IMAGE, ("text", "\nQ")]),
    ],
)  # fmt: skip
def test_an_image_is_put_where_the_text_says(row, expected):
    assert parts(row)[0] == expected


def test_images_go_to_their_places_in_the_order_of_the_turns():
    row = {"query": "<image>And?", "response": "B", "history": [["<image>?", "A"]], "images": ["a.png", "b.png"]}
    found = parts(row)
    assert (found[0][0], found[2][0]) == (IMAGE, ("image", "b.png"))
    assert row["history"] == [["<image>?", "A"]]


@pytest.mark.parametrize("nothing", [None, [], "", "[]"])
def test_without_images_the_mark_is_text(nothing):
    assert parts({"messages": user("<image>Q"), "images": nothing}) == [("text", "<image>Q")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": user("Q"), "images": ["a.png"]}, "1 for 0 places - at f:1 $.images"),
        ({"messages": user("<image>"), "images": ["a.png", "b.png"]}, "2 for 1 place - at f:1 $.images"),
        ({"messages": user("<image><image>"), "image": "a.png"}, "1 for 2 places - at f:1 $.image"),
        (
            {"messages": user("<image>"), "images": [3]},
            "the path of an image, got a number - at f:1 $.images[0]",
        ),
        (
            {"messages": user("<image>"), "image": {"bytes": "x"}},
            "as a file and give its path - at f:1 $.image",
        ),
    ],
)
def test_images_without_a_place_and_places_without_an_image_are_refused(row, message):
    with pytest.raises(InputError) as error:
        to_messages(row, "f:1")
    assert str(error.value).endswith(message)
