"""Runtime of this process: its processors, its garbage collector, and the kernel's loops that numba compiles.

numba compiles a loop at its first call and caches it beside the source (or in NUMBA_CACHE_DIR): seconds once per
machine, which the screen explains.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer

import numpy as np

from kernel.conversation import Message
from kernel.datum import build_datums
from kernel.examples import Ragged, reorder, take_ragged
from kernel.formats.qwen3 import QWEN3
from kernel.length_limit import LengthPolicy, apply_length_limit
from kernel.loss import sum_loss
from kernel.options import TrainOnWhat
from kernel.render.assemble import assemble
from kernel.render.batch_renderer import BatchRenderer

MOST_THREADS = 8
"""that encode in parallel: more would wait for the one that renders"""
CONVERSATION = Message("user", "2+2?"), Message("assistant", "4")
PATIENCE = 1.5
"""seconds in which cached loops are loaded"""


def n_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def n_threads() -> int:
    """How many threads encode in parallel: RAYON_NUM_THREADS (as the encoders read it), or one per processor."""
    wanted = os.environ.get("RAYON_NUM_THREADS", "")
    return min(int(wanted) if wanted.isdecimal() and int(wanted) else n_cores(), MOST_THREADS)


@contextmanager
def collection_paused() -> Iterator[None]:
    """No collection inside, where many objects are built; threads may overlap."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loaded_spared() -> Iterator[None]:
    """Collections inside skip all objects that exist already, which take 0.05 s each time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def compile_kernel(log: Callable[[str], object]) -> None:
    """Calls each loop between rows and metrics on one short conversation; `log` may be called from a thread."""
    timer = Timer(PATIENCE, log, ("compiling the kernel's loops: once per machine, then cached",))
    timer.start()
    try:
        batch_renderer = BatchRenderer(QWEN3)
        program = batch_renderer.render([CONVERSATION], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
        texts = take_ragged(_codes(program.texts), np.arange(len(program.texts)))
        examples = assemble(program, _codes([text for _, text in batch_renderer.constant_texts]), texts)
        examples = apply_length_limit(reorder(examples, np.arange(1)), 2048, LengthPolicy()).examples
        datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=2048, units=examples.rows)
        sum_loss(datums.weights, datums.targets, datums.weights, np.zeros(128, np.int32))
    finally:
        timer.cancel()


def _codes(texts: Sequence[str]) -> Ragged:
    """ASCII texts as an encoder returns them."""
    ids = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int32)
    return Ragged(ids, np.cumsum([0, *map(len, texts)], dtype=np.int64))
