"""The garbage collector, kept from looking where there is no garbage: at what is loaded, and at objects being made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Inside, no cycles are looked for: the collector would walk every new object again and again, in vain.

    Threads may overlap inside; collection is on again when the last that found it on leaves.

    Touches: the collector of the process.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loaded_spared() -> Iterator[None]:
    """Inside, what is there already is not looked through again: libraries and tables, a twentieth of a second a time.

    Touches: the collector of the process.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
