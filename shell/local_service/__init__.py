"""The local service: a Tinker-protocol server over a real, very small, language model, on 127.0.0.1.

The unmodified `tinker` SDK is its only client, so a recipe runs whole, offline and free, and tests need no mock.
`model/` is numpy alone; the modules here are the protocol, the queue and the state, which survives `kill -9`.
"""


class RefusedError(Exception):
    """The HTTP answer to a request that is not accepted (malformed, too large, unknown): a 4xx status, one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class UserError(Exception):
    """Why an accepted request failed, where the user can correct it: its future gets the sentence, later ones run."""
