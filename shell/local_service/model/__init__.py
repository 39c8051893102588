"""A small causal language model in numpy: forward, loss, gradients, adapters, AdamW, sampling.

With one BLAS thread the same call gives the same bits. Arrays are float32, or float64 in the tests of the gradient.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Weights = dict[str, Floats]
