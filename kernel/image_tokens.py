"""How many tokens a model sees an image as: the arithmetic of the families' published image processors."""

import math

from kernel.errors import expected


def qwen_tokens(
    height: int, width: int, patch: int = 16, merge: int = 2, low: int = 256 * 256, high: int = 4096 * 4096
) -> int:
    """Qwen3-VL and later: sides rounded to whole merged patches, the area kept between two bounds."""
    if max(height, width) > 200 * min(height, width):
        raise expected("an image of sides within 200 times of each other", f"{width} x {height} pixels")
    unit = patch * merge
    rows, columns = (round(side / unit) * unit for side in (height, width))
    if rows * columns > high:
        shrink = math.sqrt(height * width / high)
        rows, columns = (max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width))
    elif rows * columns < low:
        grow = math.sqrt(low / (height * width))
        rows, columns = (math.ceil(side * grow / unit) * unit for side in (height, width))
    return rows // unit * (columns // unit)


def kimi_tokens(height: int, width: int, patch: int = 14, merge: int = 2, most: int = 16384, side: int = 512) -> int:
    """Kimi K2.5 and K2.6: never enlarged, shrunk until patches fit, then padded to whole merged patches."""
    fits = math.sqrt(most / (max(1, width // patch) * max(1, height // patch)))
    scale = min(1.0, fits, side * patch / width, side * patch / height)
    unit = patch * merge
    sides = (min(max(1, int(length * scale)), side * patch) for length in (height, width))
    rows, columns = (-(-length // unit) for length in sides)
    return rows * columns
