"""A rendering is the template's text and the data's, in the order that the placeholders have; or it is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InputError
from shell.text.chat_template.placeholders import TEMPLATE, Program, Rendered, Run, align
from shell.text.chat_template.template_messages import MARKS, Field, Placeholders


def rendered(source: str, **data: str) -> Rendered:
    """A template of variables, aligned with placeholders for them."""
    program, shown = Program(source, "test"), Placeholders()
    fields = [Field(0, "text", text, number, word=False) for number, text in enumerate(data.values())]
    marked = program.run(dict(zip(data, map(shown.of, fields), strict=True)), "test", MARKS)
    return align(program.run(data, "test"), marked, shown.shown, lambda number: f"field {number}")


def test_the_origin_of_every_character_is_known() -> None:
    assert rendered("<{{ a | trim }}>{{ b }}", a=" hi ", b="<>").runs == [
        Run(0, 1, TEMPLATE),
        Run(1, 3, 0, 1, 3),
        Run(3, 4, TEMPLATE),
        Run(4, 6, 1, 0, 2),
    ]


@pytest.mark.parametrize(
    "form", ["a", "a | tojson", "a | tojson(ensure_ascii=true)", "a | upper", "a | lower", "(' ' ~ a ~ '\\n') | trim"]
)
def test_data_is_found_in_every_form(form: str) -> None:
    @given(st.text(max_size=8).filter(bool))
    def law(text: str) -> None:
        source = f"[{{{{ {form} }}}}]"
        got = rendered(source, a=text)
        assert all(run.source == 0 for run in got.runs[1:-1])
        assert got.text == Program(source, "test").run({"a": text}, "test")

    law()


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("a | title", "Yo, It's <Up> & (Down)"),
        ("a.title()", "Yo, It'S <Up> & (Down)"),
        ("a | capitalize", "Yo, it's <up> & (down)"),
        ("a | e", "yo, it&#39;s &lt;UP&gt; &amp; (down)"),
        ("a | replace('\\r\\n', '\\n')", "yo, it's <UP> & (down)"),
        ("a.split('</think>') | last", "yo, it's <UP> & (down)"),
        ("' '.join([a])", "yo, it's <UP> & (down)"),
        ("'{}'.format(a)", "yo, it's <UP> & (down)"),
        ("'%s' | format(a)", "yo, it's <UP> & (down)"),
        ("{'k': a} | tojson(indent=1, sort_keys=true)", "yo, it's <UP> & (down)"),
        ("({'k': a} | items | list)[0][1]", "yo, it's <UP> & (down)"),
    ],
)
def test_filters_and_methods_that_templates_call_keep_the_origin(form: str, shown: str) -> None:
    got = rendered(f"[{{{{ {form} }}}}]", a="yo, it's <UP> & (down)")
    assert [got.text[run.start : run.stop] for run in got.runs if run.source == 0] == [shown]


@pytest.mark.parametrize(
    ("source", "text", "sentence"),
    [
        ("{{ a }}{{ '!' if 'stop' in a }}", "stop", "what the template writes around a text depends on the text"),
        ("{{ a[:2] }}", "stop", "writes only a part of field 0"),
        ("{{ a | replace('t', 'T') }}", "stop", "writes 'sTop' for field 0"),
        ("{{ '\U000f0009' }}{{ a }}", "stop", "private characters"),
    ],
)
def test_what_is_not_the_data_as_it_is_is_refused(source: str, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        rendered(source, a=text)


def test_generation_blocks_are_found_in_the_real_text() -> None:
    block = "{% generation %}{{ a }}{% generation %}.{% endgeneration %}{% endgeneration %}"
    assert rendered(f"<{block}>{block}", a="hi").marked == [(1, 4), (5, 8)]
    assert rendered(f"{{% macro m() %}}{block}{{% endmacro %}}{{{{ m() }}}};{{{{ m() }}}}", a="h").marked == [
        (0, 2),
        (3, 5),
    ]


def test_two_renderings_share_what_has_the_same_origin() -> None:
    one, other = rendered("a: {{ a }}", a="hm"), rendered("a: hm{{ '' if a }}", a="hm")
    assert (one.n_shared(one), one.n_shared(other)) == (5, 3)


def test_a_program_writes_json_as_the_library_does() -> None:
    value = {"b": ["é<", None], "a": 1.5}
    text = Program("{{ value | tojson(indent=1, sort_keys=true) }}", "test").run({"value": value}, "test")
    assert text == json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
