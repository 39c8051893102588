"""The kernel's loops, compiled before they are needed.

numba compiles a loop at its first call and keeps the result beside the source (or in NUMBA_CACHE_DIR), so this takes
seconds once on a machine and a moment ever after. Whoever waits for those seconds is told why.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer

import numpy as np

from kernel.conversation import Message
from kernel.datum import build_datums
from kernel.formats import QWEN3
from kernel.length_limit import LengthPolicy, apply_length_limit
from kernel.loss import sum_loss
from kernel.render.assemble import Ragged, assemble, take_ragged
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.loss_mask import TrainOnWhat

TALK = Message("user", "2+2?"), Message("assistant", "4")
PATIENCE = 1.5
"""seconds in which loops that were kept are loaded"""


def compile_kernel(say: Callable[[str], object]) -> None:
    """Calls each loop between rows and metrics on one short conversation.

    Args:
        say: shows a line; called from a thread, where there is something to compile.

    Touches: numba's cache.
    """
    with _told(say, "compiling the kernel's loops: once on a machine, kept for the next time"):
        batch_renderer = BatchRenderer(QWEN3)
        script = batch_renderer.render([TALK], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
        texts = take_ragged(_codes(script.texts), np.arange(len(script.texts)))
        examples = assemble(script, _codes([text for _, text in batch_renderer.constant_texts]), texts)
        examples = apply_length_limit(examples, 2048, LengthPolicy()).examples
        datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=2048, units=examples.rows)
        sum_loss(datums.weights, datums.targets, datums.weights, np.zeros(128, np.int32))


def _codes(texts: Sequence[str]) -> Ragged:
    """ASCII texts as what an encoder gives."""
    ids = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int32)
    return Ragged(ids, np.cumsum([0, *map(len, texts)], dtype=np.int64))


@contextmanager
def _told(say: Callable[[str], object], what: str) -> Iterator[None]:
    """Says what is being waited for, if that takes long."""
    timer = Timer(PATIENCE, say, (what,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
