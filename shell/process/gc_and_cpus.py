"""Runtime of this process: its processors, and its garbage collector."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

MOST_THREADS = 8  # that encode in parallel: more would wait for the one that renders


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
