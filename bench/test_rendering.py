"""Rendering alone, without encoding: conversations to scripts by every renderer, as training does it (turns split)."""

from functools import partial

from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import BENCHED
from bench.contest import Contest, race, task
from bench.workload import MODE, Workload
from kernel.conversation import Conversation
from kernel.render.batch_renderer import BatchRenderer
from kernel.render.spans import Span
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import RENDERERS
from kernel.row_to_conversation import read_conversation
from tests.naive import write

N_ROUNDS, N_CONVERSATIONS = 7, 200


def test_rendering(workload: Workload, contests: list[Contest], benchmark: BenchmarkFixture) -> None:
    """A line a renderer; for some the readable way to spans too, which is their naive twin."""
    some = workload._replace(data=workload.data.take(N_CONVERSATIONS))
    ways, twins = [], []
    for name, renderer in RENDERERS.items():
        talks = [read_conversation(row) for row in some.fitting(renderer).to_list()]
        render = BatchRenderer(renderer).render
        render(talks, MODE)  # its layouts are worked out once a run
        ways.append(task(name, partial(render, talks, MODE), len(talks)))
        if name in BENCHED:
            twins.append(task(f"{name}, naive twin", partial(written, renderer, talks), len(talks)))
    contest = Contest("rendering alone", ways[0].name)
    contests.append(race(benchmark, contest, ways[0], [*ways[1:], *twins], N_ROUNDS))


def written(renderer: Renderer, talks: list[Conversation]) -> list[list[Span]]:
    return [write(renderer, talk) for talk in talks]
