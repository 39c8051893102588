"""A small causal language model in numpy: with one BLAS thread the same call gives the same bits."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Weights = dict[str, Floats]
