"""What another process needs to make chunks of a store: the names of everything, opened again there.

The names are only how to find things. Whoever opens them works out the identity of what was found, and makes nothing
unless that is the store's: a file that was changed meanwhile is noticed.
"""

from pathlib import Path

import msgspec

from kernel.errors import expected
from kernel.example import TrainOnWhat
from kernel.truncation import Treatment, Truncation
from shell.data.mixing import open_data
from shell.data.rows import Rows
from shell.data.sources import DatasetSpec
from shell.data.stream import Stream
from shell.datums.maker import DatumMaker
from shell.prepared.identity import identity_of, key_of
from shell.prepared.store import Plan
from shell.text.formats import FormatNames

MANY = 1 << 40
"""bad rows are no matter of who makes a store: they are left to whoever asks for them"""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A store to make, as plain data."""

    key: str
    folder: str
    spec: DatasetSpec
    names: FormatNames
    train_on_what: str
    split_turns: bool = True
    shortened_to: int | None = None
    """the length to which prompts are shortened; None: they are not"""


class Work:
    """A job opened.

    Raises:
        InputError: it cannot be opened, or it is not what the store was begun with.

    Touches: the data's and the tokenizer's files; for those of the Hub the network.
    """

    def __init__(self, job: Job) -> None:
        renderer, tokenizer = job.names.open()
        self.rows = _rows(job)
        self.maker = DatumMaker(
            renderer,
            tokenizer,
            TrainOnWhat(job.train_on_what),
            job.shortened_to,
            column=job.spec.dataset_column,
            split_turns=job.split_turns,
            treatment=Treatment(Truncation.RIGHT if job.shortened_to is None else Truncation.KEEP_ANSWER),
            lenient=True,
        )
        self.folder, self.decided_by = Path(job.folder), identity_of(self.rows, self.maker)
        self.plan = Plan(key_of(self.decided_by), len(self.rows))
        if self.plan.key != job.key:
            raise expected("the data and the renderer that the store was begun with", "others", at=job.folder)


def _rows(job: Job) -> Rows:
    train = open_data(msgspec.structs.replace(job.spec, test_size=0, max_bad_rows=MANY)).train
    assert not isinstance(train, Stream)
    return train.rows
