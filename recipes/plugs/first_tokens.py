"""The first trained tokens of an example count double: inputs of a loss of the service.

    python recipes/sl_basic.py --log-path /tmp/run --loss cross_entropy=recipes/plugs/first_tokens.py:inputs

A loss with other inputs gets them in the same way: `--loss ppo=mine.py:inputs`, where the function returns
`{"logprobs": ..., "advantages": ...}`.
"""

import numpy as np


def inputs(example):
    weights = example["weights"]
    return {"weights": weights * (1 + (np.cumsum(weights > 0) <= 4))}
