"""Names for the arrays that the model is made of; floats are float32, and float64 where the gradient is checked."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Weights = dict[str, Floats]
