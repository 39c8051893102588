"""Where the elements of a JSON array begin and end, found in one pass over its bytes, block by block.

Only the outline is looked at: strings, brackets, commas. So an array of any size is cut into its elements without being
held in memory, at the speed of a loop over bytes; what an element holds is decoded, and judged, by someone else.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

START, FIRST, VALUE, BEFORE_VALUE, BEHIND_VALUE, END = range(6)
"""Where the pass stands: before the array, behind its bracket, in an element, behind a comma, behind an element, behind
the array."""
POSITION, PLACE, DEPTH, IN_STRING, LINE, COLUMN = range(6)
"""What `state` holds: the bytes seen, one of the above, brackets open in the element (-1: it is no list or object),
0 or 1 or 2 (in a string; behind its backslash), and line and column, in characters, of the next byte."""


class Cuts(NamedTuple):
    """Elements found in a block; those that end in it and those that only begin are counted apart."""

    starts: Int64
    """int64[n, 3]: byte, line and column of where each begins"""
    stops: Int64
    """int64[m]: the byte behind each that ends"""
    fault: int
    """index in the block of the first byte that cannot stand there; -1: none"""


def opening() -> Int64:
    """The state at the first byte of a file: int64[6]."""
    return np.array([0, START, 0, 0, 1, 1], np.int64)


def cut(block: NDArray[np.uint8], state: Int64) -> Cuts:
    """Cuts a block of an array's bytes; `state` is carried on in place, to be handed in with the next block.

    >>> state = opening()
    >>> cuts = cut(np.frombuffer(b'[{"a": "]"}, 7]', np.uint8), state)
    >>> cuts.starts[:, 0].tolist(), cuts.stops.tolist(), int(state[PLACE]) == END
    ([1, 13], [11, 14], True)
    """
    n = len(block) // 2 + 1
    starts, stops = np.empty((n, 3), np.int64), np.empty(n + 1, np.int64)
    n_starts, n_stops, fault = _cut(block, state, starts, stops)
    return Cuts(starts[:n_starts].copy(), stops[:n_stops].copy(), fault)


@numba.njit(cache=True, nogil=True)
def _cut(block, state, starts, stops):  # type: ignore[no-untyped-def]
    position, place, depth, in_string, line, column = state
    n_starts = n_stops = 0
    fault = -1
    for i in range(len(block)):
        byte = block[i]
        is_blank = byte == 32 or byte == 10 or byte == 13 or byte == 9
        if place == VALUE:
            if in_string:
                if in_string == 2:
                    in_string = 1
                elif byte == 92:
                    in_string = 2
                elif byte == 34:
                    in_string = 0
                    if depth == 0:
                        place = BEHIND_VALUE
                        stops[n_stops] = position + i + 1
                        n_stops += 1
            elif byte == 34:
                in_string = 1
            elif depth > 0:
                if byte == 123 or byte == 91:
                    depth += 1
                elif byte == 125 or byte == 93:
                    depth -= 1
                    if depth == 0:
                        place = BEHIND_VALUE
                        stops[n_stops] = position + i + 1
                        n_stops += 1
            elif is_blank or byte == 44 or byte == 93:  # the end of a number or a word
                place = END if byte == 93 else BEFORE_VALUE if byte == 44 else BEHIND_VALUE
                stops[n_stops] = position + i
                n_stops += 1
        elif not is_blank:
            if place == START and byte == 91:
                place = FIRST
            elif place in (FIRST, BEHIND_VALUE) and byte == 93:
                place = END
            elif place == BEHIND_VALUE and byte == 44:
                place = BEFORE_VALUE
            elif place in (FIRST, BEFORE_VALUE) and byte != 93 and byte != 44 and byte != 125:
                place = VALUE
                depth = 1 if byte == 123 or byte == 91 else 0 if byte == 34 else -1
                in_string = 1 if byte == 34 else 0
                starts[n_starts, 0] = position + i
                starts[n_starts, 1] = line
                starts[n_starts, 2] = column
                n_starts += 1
            else:
                fault = i
                break
        if byte == 10:
            line += 1
            column = 1
        elif byte & 0xC0 != 0x80:
            column += 1
    state[0] = position + (len(block) if fault < 0 else fault)
    state[1], state[2], state[3], state[4], state[5] = place, depth, in_string, line, column
    return n_starts, n_stops, fault
