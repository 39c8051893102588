"""A process that makes shards: a job on the first line of its input, then a shard's number a line; an answer to each.

It ends when its input does, so it never outlives who started it by more than a shard.
"""

import os
import sys
from typing import TextIO

import msgspec

from kernel.errors import InputError
from shell.process.gc_pause import loaded_spared
from shell.token_cache.build import build_shard, put_shard
from shell.token_cache.build_spec import BuildSpec, Work


class Answer(msgspec.Struct, frozen=True):
    """What a worker says: once when it has opened its job, then for every shard."""

    error: str = ""


def serve(lines: TextIO, answers: TextIO) -> None:
    """Makes the shards that are asked for. Touches: what the job names."""

    def say(error: str = "") -> None:
        answers.write(msgspec.json.encode(Answer(error)).decode() + "\n")
        answers.flush()

    try:
        work = Work(msgspec.json.decode(next(lines, ""), type=BuildSpec))
        say()
        with loaded_spared():
            for line in lines:
                put_shard(work.folder, int(line), build_shard(work.rows, work.maker, work.plan, int(line)))
                say()
    except InputError as error:
        say(str(error))


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever a library prints is no answer
        serve(sys.stdin, answers)
