"""The full rate for most of a run, then a straight fall: a schedule.

python recipes/sl_basic.py --log-path /tmp/run --schedule recipes/plugs/stable_then_decay.py:stable_then_decay
"""


def stable_then_decay(step, n_steps):
    return min(1.0, (n_steps - step) / (0.2 * n_steps))
