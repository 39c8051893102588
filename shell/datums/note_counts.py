"""Counts of rows by what to know of them before they are trained, for the first lines of a run and the last of show."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kernel.conversation import Conversation
from kernel.errors import InputError
from kernel.render.row_notes import row_notes
from kernel.renderer_language.pieces import Renderer
from kernel.renderers.follow_template import differences, follows_template
from shell.data.dataset import Dataset
from shell.data.load_dataset import Source
from shell.data.rows import Rejected
from shell.datums.render_rows import RowRenderer

N_NOTED = 1000


class NoteCounts:
    """How many of the rows that were added have each note, and differ from the reference or the public template."""

    def __init__(self, row_renderer: RowRenderer) -> None:
        chat_format = row_renderer.chat_format
        self._markup = row_renderer.markup
        self._renderer = chat_format if isinstance(chat_format, Renderer) else None
        self._follows = self._renderer is not None and follows_template(self._renderer)
        self._notes, self._differences = Counter[str](), Counter[str]()
        self.n_rows = self.n_different = 0

    def add(self, conversation: Conversation) -> None:
        self.n_rows += 1
        self._notes.update(row_notes(conversation, self._markup, self._renderer))
        found = differences(self._renderer, conversation) if self._renderer else []
        self._differences.update(found)
        self.n_different += bool(found)

    def lines(self, n_all: int | None = None) -> list[str]:
        """A line per note, and one about the public template; `n_all` are all rows if only the first were added."""
        of = f"of {self.n_rows:,} {'row' if self.n_rows == 1 else 'rows'}"
        of = f"of the first {self.n_rows:,} rows" if self.n_rows < (n_all or 0) else of
        lines = [f"{n:,} {of}: {note}" for note, n in self._notes.most_common()]
        if self.n_different:
            what = "; ".join(f"{what} ({n:,})" for what, n in self._differences.most_common())
            other = "tinker-cookbook" if self._follows else "the model's public template"
            flag = "reference" if self._follows else "template"
            verb = "differs" if self.n_different == 1 else "differ"
            lines.append(f"{self.n_different:,} {of} {verb} from {other} (--follow {flag}). The reference: {what}")
        return lines


def note_lines(source: Source, row_renderer: RowRenderer, n: int = N_NOTED) -> Sequence[str]:
    """The lines of the first rows to train on, for where not all are read; none for a stream, which is read once."""
    if not isinstance(source.train, Dataset):
        return []
    counts, indices = NoteCounts(row_renderer), source.train.indices[:n]
    for i, row in zip(np.asarray(indices).tolist(), source.train.rows.take(indices), strict=True):
        try:
            if not isinstance(row, Rejected):
                counts.add(row_renderer.read(row, source.train.rows.place(i)))
        except InputError:
            continue
    return counts.lines(len(source.train))
