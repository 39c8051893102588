"""The two ways in which the service says no.

A request that cannot even be numbered (malformed, too large, for nobody) is refused over HTTP at once. One that can is
accepted, keeps its place in its model's order, and fails there: its future says why, and nothing behind it is blocked.
"""


class RefusedError(Exception):
    """The HTTP answer to a request that was not accepted: a 4xx status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class UserError(Exception):
    """Why an accepted request failed, in one sentence, when it is the user who can mend it."""
