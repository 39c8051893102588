"""Short runs on the local service leave the metrics, checkpoints and ledger that are committed.

    python -m tests.guard          # writes tests/guard/expected/ anew; look at the difference before you commit it

Counts, names and rows are compared exactly, numbers to a millionth: two kernels of a BLAS do not agree to the bit. In
the mixture and the cipher every row is longer than allowed, so that the ledger names each with its step.
"""

import json
from collections.abc import Callable, Iterator
from difflib import unified_diff
from math import isclose
from pathlib import Path
from typing import Any

import pytest

from tests.guard.chats import answer, user
from tests.guard.runs import SMALL, files_of, lines_of, train, train_until

HERE = Path(__file__).parent / "expected"
TOLERANCE = 1e-6
SAMPLE = ("--max-steps", "6", "--batch-size", "4", "--max-length", "128", "--test-size", "6",
          "--eval-every", "2", "--save-every", "2")  # fmt: skip
TALKS = ("--renderer-name", "role_colon", "--batch-size", "4", "--max-length", "16", "--num-epochs", "2",
         "--eval-every", "0", "--save-every", "0")  # fmt: skip


def sample(folder: Path) -> None:
    """Killed after half of its steps, and resumed."""
    flags = (*SMALL, *SAMPLE, "--log-path", str(folder))
    train_until(folder.parent, "step 4/6", *flags)
    assert "resumed" in train(folder.parent, *flags, "--behavior-if-log-dir-exists", "resume")


def mixture(folder: Path) -> None:
    a, b = talks(folder.parent / "a.jsonl", 13), talks(folder.parent / "b.jsonl", 9)
    flags = (*SMALL, *TALKS, "--dataset", f"{a}=0.7,{b}=0.3", "--mix-stopping", "all_exhausted", "--test-size", "3")
    train(folder.parent, *flags, "--log-path", str(folder))


def cipher(folder: Path) -> None:
    path = talks(folder.parent / "a.jsonl", 13)
    flags = (*SMALL, *TALKS, "--dataset", str(path), "--order", "cipher", "--tail", "keep", "--seed", "7")
    train(folder.parent, *flags, "--log-path", str(folder))


def talks(path: Path, n: int) -> Path:
    """A file of conversations, all longer than allowed."""
    rows = [[user(f"{path.stem} {i}?"), answer(f"It is {i}. " * (9 + i % 5))] for i in range(n)]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")
    return path


RUNS: dict[str, Callable[[Path], None]] = {"sample": sample, "mixture": mixture, "cipher": cipher}


def run_lines(name: str, home: Path) -> Iterator[str]:
    folder = home / name
    RUNS[name](folder)
    return lines_of(files_of(folder))


def path_of(name: str) -> Path:
    return HERE / f"run_{name}.txt"


def save(name: str, home: Path) -> None:
    text = "".join(line + "\n" for line in run_lines(name, home))
    path_of(name).write_text(text, encoding="utf-8", newline="\n")


def agree(kept: str, now: str) -> bool:
    """Whether two lines say the same: floats nearly, everything else exactly."""
    (a, row_a), (b, row_b) = (line.split(" ", 1) for line in (kept, now))
    pairs = json.loads(row_a, object_pairs_hook=list), json.loads(row_b, object_pairs_hook=list)
    return a == b and len(pairs[0]) == len(pairs[1]) and all(map(same, *pairs))


def same(a: tuple[str, Any], b: tuple[str, Any]) -> bool:
    if type(a[1]) is float and type(b[1]) is float:
        return a[0] == b[0] and isclose(a[1], b[1], rel_tol=TOLERANCE)
    return a == b


@pytest.mark.parametrize("name", [pytest.param("sample", marks=pytest.mark.slow), "mixture", "cipher"])
def test_a_run_leaves_the_committed_files(name: str, tmp_path: Path) -> None:
    kept = path_of(name).read_text(encoding="utf-8").split("\n")[:-1]
    now = list(run_lines(name, tmp_path))
    now[: len(kept)] = [a if agree(a, b) else b for a, b in zip(kept, now, strict=False)]
    if kept != now:
        diff = unified_diff(kept, now, str(path_of(name)), "now", lineterm="", n=1)
        pytest.fail("\n".join(diff), pytrace=False)
