"""The loop to copy: it trains against the local service, and resumes where it was killed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).parents[2] / "recipes/sl_loop.py"


def losses(lines: str) -> dict[int, float]:
    return {int(step): float(loss) for step, loss in re.findall(r"step (\d+)/\d+  loss ([\d.]+)", lines)}


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The recipe with fewer and smaller steps."""
    text = LOOP.read_text().replace("30, 16, 2048, 1e-2, 10, 0", "4, 2, 256, 1e-2, 2, 0")
    (tmp_path / "my_loop.py").write_text(text)
    return tmp_path / "my_loop.py"


def test_it_trains_and_a_killed_loop_goes_on_with_the_same_losses(short: Path, tmp_path: Path) -> None:
    whole = subprocess.run([sys.executable, short, tmp_path / "whole"], capture_output=True, text=True, check=True)
    assert losses(whole.stdout).keys() == {1, 2, 3, 4}
    assert "weights for sampling: tinker://" in whole.stdout
    with subprocess.Popen([sys.executable, short, tmp_path / "cut"], stdout=subprocess.PIPE, text=True) as cut:
        assert cut.stdout
        for line in cut.stdout:
            if line.startswith("step 3/"):
                cut.kill()
    again = subprocess.run([sys.executable, short, tmp_path / "cut"], capture_output=True, text=True, check=True)
    assert "resumed at step 2" in again.stdout
    assert losses(again.stdout) == {step: loss for step, loss in losses(whole.stdout).items() if step > 2}


def test_it_is_short_enough_to_read() -> None:
    assert len(LOOP.read_text().splitlines()) <= 80
