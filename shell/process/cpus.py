"""How much of the machine this process may use."""

import os

MOST_THREADS = 8
"""that encode side by side: more would wait for the one that renders"""


def n_cores() -> int:
    """How many processors this process may use. Touches: the system."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def n_threads() -> int:
    """How many threads of this process encode side by side: RAYON_NUM_THREADS, or one a processor. Touches: the system.

    The variable is that of the encoders' own threads; anything but a number above 0 is ignored, as they do.
    """
    wanted = os.environ.get("RAYON_NUM_THREADS", "")
    return min(int(wanted) if wanted.isdecimal() and int(wanted) else n_cores(), MOST_THREADS)
