"""The local service: a Tinker-protocol server over a real, very small, language model, on 127.0.0.1.

The unmodified `tinker` SDK is its client, so a recipe runs offline and free. `model/` is numpy alone; the modules here
are the protocol, the queue and the state, which survives `kill -9`.
"""


class RefusedError(Exception):
    """The HTTP answer to a request that is not accepted (malformed, too large, unknown): a 4xx status, one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class UserError(Exception):
    """What the user can correct, in one sentence: an accepted request's future fails with it, and later ones run."""
