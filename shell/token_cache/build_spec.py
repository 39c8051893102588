"""What another process needs to make shards of a store: the names of everything, opened again there.

The names are only how to find things. Whoever opens them works out the identity of what was found, and makes nothing
unless that is the store's: a file that was changed meanwhile is noticed.
"""

from pathlib import Path

import msgspec

from kernel.errors import expected
from shell.data.hub import Stream
from shell.data.mixture import open_data
from shell.data.rows import Rows
from shell.data.sources import DatasetSpec
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.provenance import key_of, provenance_of
from shell.text.formats import FormatNames
from shell.token_cache.cache import ShardPlan

MANY = 1 << 40
"""bad rows are no matter of who makes a store: they are left to whoever asks for them"""


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A store to make, as plain data."""

    key: str
    folder: str
    spec: DatasetSpec
    names: FormatNames
    settings: RenderSettings
    """as `RenderSettings.of_cache`"""


class Work:
    """A job opened.

    Raises:
        InputError: it cannot be opened, or it is not what the store was begun with.

    Touches: the data's and the tokenizer's files; for those of the Hub the network.
    """

    def __init__(self, job: BuildSpec) -> None:
        renderer, tokenizer = job.names.open()
        self.rows = _rows(job)
        self.maker = RowRenderer(renderer, tokenizer, job.settings)
        self.folder, self.decided_by = Path(job.folder), provenance_of(self.rows, self.maker)
        self.plan = ShardPlan(key_of(self.decided_by), len(self.rows))
        if self.plan.key != job.key:
            raise expected("the data and the renderer that the store was begun with", "others", at=job.folder)


def _rows(job: BuildSpec) -> Rows:
    train = open_data(msgspec.structs.replace(job.spec, test_size=0, max_bad_rows=MANY)).train
    assert not isinstance(train, Stream)
    return train.rows
