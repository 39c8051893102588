"""A server of Tinker's wire protocol: routes, a queue of requests, the worker that runs them, the state they leave."""


class RefusedError(Exception):
    """The HTTP answer to a request that is not accepted (malformed, too large, unknown): a 4xx status, one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class UserError(Exception):
    """Why an accepted request failed, where the user can correct it: its future gets the sentence, later ones run."""
