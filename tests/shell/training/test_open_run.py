"""Compiling is logged while it lasts, and what is compiled is what a run calls."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shell.training import open_run

AFTER = """
import numba.core.dispatcher as dispatcher
from shell.training.open_run import compile_kernel
compile_kernel(lambda line: None)
compiled = []
real = dispatcher.Dispatcher.compile
dispatcher.Dispatcher.compile = lambda self, types: compiled.append(self.py_func.__name__) or real(self, types)
from kernel.enums import TrainOnWhat
from kernel.loss import sum_loss
from kernel.renderers import RENDERERS
from shell.datums.render_rows import RowRenderer
from shell.datums.render_settings import RenderSettings
from shell.text.tokenizer import open_tokenizer
tokenizer = open_tokenizer("sample")
settings = RenderSettings(train_on_what=TrainOnWhat.ALL_ASSISTANT_MESSAGES, max_length=100)
row_renderer = RowRenderer(RENDERERS["qwen3"], tokenizer, settings)
turns = [{"role": role, "content": "again"} for role in ("user", "assistant", "user", "assistant")]
datums = row_renderer.batch([{"messages": turns}], ["row"]).datums
sum_loss(datums.weights, datums.targets, datums.weights, tokenizer.n_bytes)
print(compiled)
"""


def test_a_run_compiles_nothing_more() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTER], capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True
    )
    assert done.stdout.strip() == "[]"


def test_it_is_logged_only_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    open_run.compile_kernel(lines.append)
    open_run.compile_kernel(lines.append)
    assert len(lines) <= 1
    monkeypatch.setattr(open_run, "PATIENCE", 0.0)
    monkeypatch.setattr(open_run, "Timer", AtOnce)
    open_run.compile_kernel(lines.append)
    assert lines[-1].startswith("compiling the kernel's loops")


class AtOnce:
    """A timer whose time has come when it is started."""

    def __init__(self, _: float, log: Callable[[str], object], args: tuple[str]) -> None:
        self._log, self._args = log, args

    def start(self) -> None:
        self._log(*self._args)

    def cancel(self) -> None:
        return None
