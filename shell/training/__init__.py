"""Training of one run: its loop, checkpoints, evaluations, samples and resumption."""
