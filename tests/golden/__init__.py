"""Golden renders: what every renderer writes for a set of conversations, one readable file per renderer.

    python -m tests.golden          # writes tests/golden/*.txt anew; look at the difference before you commit it

`cases` holds the conversations, `renders` writes the text, `engine` imports what renders them;
`tests.golden.test_renders` compares, and `python -m bench.golden_mutants` shows what the files would not notice.
"""
