"""Code of the user's in a run: what it may return, the sentence where it returns something else, what is compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from shell.process.plugs import Plug, PlugError, from_python, load_plug, versioned
from shell.service.protocol import CROSS_ENTROPY
from shell.settings.config import Config
from shell.training.evaluators import Evaluator, open_evaluators
from shell.training.users_code import FromPython, Loggers, open_code, open_loss, open_schedule

RECIPES = Path(__file__).parents[3] / "recipes" / "plugs"


def plug(tmp_path: Path, text: str, name: str = "f") -> Plug:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return load_plug(f"{file}:{name}", "--evaluator")


def scores(one: Plug, name: str = "mine") -> dict[str, float]:
    return Evaluator(name, one).start(None).result(5)  # type: ignore[arg-type]


def test_scores_are_plain_numbers_under_the_name_of_the_evaluator(tmp_path: Path) -> None:
    text = "import numpy as np\ndef f(s): return {'a': np.float32(0.5), 'b/c': np.int64(3), 'd': True}"
    found = scores(plug(tmp_path, text))
    assert found == {"eval/mine/a": 0.5, "eval/mine/b/c": 3, "eval/mine/d": 1}
    assert {type(value) for value in found.values()} == {float, int}


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("3", "returned int, not a mapping of names to numbers"),
        ("None", "returned NoneType, not a mapping"),
        ("{'a': 'b'}", "returned 'b' for 'a', not a finite number"),
        ("{'a': float('nan')}", "returned nan for 'a', not a finite number"),
        ("{1: 2}", "returned the key 1, not a name"),
        ("1 / 0", r"raised ZeroDivisionError: division by zero in .*mine\.py:1"),
        ("exit(3)", r"raised SystemExit: 3 in .*mine\.py"),
    ],
)
def test_an_evaluator_that_returns_no_numbers_is_one_sentence(returned: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PlugError, match=rf"mine\.py:f {sentence}.* - at --evaluator"):
        scores(plug(tmp_path, f"def f(s): return {returned}"))


def test_a_fault_of_the_service_inside_an_evaluator_stays_one() -> None:
    class FaultError(Exception):
        exit_code = 1

    def failing(_sampler: object) -> None:
        raise FaultError

    with pytest.raises(FaultError):
        scores(from_python(failing, "evaluators"))


def test_evaluators_are_named_by_the_user_or_by_their_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(s): ...\ng = f")
    found = open_evaluators(f"{file}:f, other={file}:g", {"third": from_python(scores, "evaluators")})
    assert [one.name for one in found] == ["f", "other", "third"]
    for text, sentence in {
        f"{file}:f,{file}:f": "expected a name of its own for each evaluator",
        f"a/b={file}:f": "unknown|no file|expected",
        "mine": r"expected \[NAME=\]FILE.py:NAME, got 'mine'",
    }.items():
        with pytest.raises(InputError, match=sentence):
            open_evaluators(text, {})


def test_a_decay_of_ones_own_is_composed_with_warmup_and_floor(tmp_path: Path) -> None:
    own = plug(tmp_path, "def f(step, n): return 1 - step / n")
    built_in, mine = (open_schedule("linear", one, 10, 2, 0.1) for one in (None, own))
    assert [mine(step) for step in range(10)] == [built_in(step) for step in range(10)]


@pytest.mark.parametrize("returned", ["-0.1", "None", "float('inf')", "float('nan')", "'1'"])
def test_a_decay_that_gives_no_multiplier_is_refused_before_the_run(returned: str, tmp_path: Path) -> None:
    own = plug(tmp_path, f"def f(step, n): return 1.0 if step < 3 else {returned}")
    with pytest.raises(PlugError, match=r"returned .* at step 3 of 5, not a finite number >= 0"):
        open_schedule("linear", own, 5, 0, 0.0)


EXAMPLE = {name: np.arange(3) for name in ("input_ids", "target_tokens", "weights")}


def test_a_loss_of_the_service_gets_the_inputs_of_a_function(tmp_path: Path) -> None:
    spec = plug(tmp_path, "def f(e): return {'logprobs': [0.5] * 3, 'n': e['input_ids']}").spec
    loss, own = open_loss(f"importance_sampling={spec}", None)
    assert loss.name == "importance_sampling"
    assert loss.inputs
    assert own
    found = loss.inputs(EXAMPLE)
    assert {key: (array.dtype, array.tolist()) for key, array in found.items()} == {
        "logprobs": (np.float32, [0.5] * 3),
        "n": (np.int64, [0, 1, 2]),
    }
    assert open_loss("cross_entropy", None) == (CROSS_ENTROPY, None)


@pytest.mark.parametrize("returned", ["3", "{'a': [1, 2]}", "{'a': ['x'] * 3}", "{'a': [float('nan')] * 3}"])
def test_inputs_that_are_no_numbers_for_each_token_are_one_sentence(returned: str, tmp_path: Path) -> None:
    loss, _ = open_loss(f"ppo={plug(tmp_path, f'def f(e): return {returned}').spec}", None)
    assert loss.inputs
    with pytest.raises(PlugError, match=r"mine\.py:f returned .*, not (a mapping of names to arrays|3 finite numbers)"):
        loss.inputs(EXAMPLE)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("crossentropy", "unknown loss 'crossentropy', did you mean 'cross_entropy'"),
        ("ppo", r"ppo has inputs beside the targets: give --loss ppo=FILE\.py:NAME - at --loss"),
        ("custom", "unknown loss 'custom'"),
        (" ", "unknown loss"),
        ("nowhere.py:f", r"there is no file nowhere\.py with a loss in it - at --loss"),
    ],
)
def test_a_loss_that_there_is_not_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_loss(text, None)


def test_without_torch_a_loss_of_ones_own_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shell.training.users_code.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"needs torch, which is not installed: pip install 'tinsmith\[loss\]'"):
        open_loss(f"{RECIPES}/focal_loss.py:focal_loss", None)


def test_a_logger_gets_a_copy_of_each_line_and_is_closed(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    function = from_python(lambda line: lines.append(line), "loggers")
    table = load_plug(f"{RECIPES}/csv_log.py:CsvLog", "--logger")
    loggers = Loggers([function, table])
    loggers.open(tmp_path)
    line = {"step": 0, "train_mean_nll": 2.5}
    loggers.write(line)
    loggers.close()
    assert lines == [line]
    assert lines[0] is not line
    assert (tmp_path / "loss.csv").read_text() == "0,2.5\n"


def test_a_logger_that_fails_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    one = plug(tmp_path, "def f(line): raise KeyError(line['step'])")
    said: list[str] = []
    one.log = said.append
    loggers = Loggers([one])
    for step in range(3):
        loggers.write({"step": step})
    loggers.close()
    (line,) = said
    assert line.startswith(f"warning   {one.spec} raised KeyError: 0 in {one.path}:1")


def test_an_exception_in_on_step_stops_the_run() -> None:
    def on_step(_line: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(PlugError, match=r"on_step raised RuntimeError: enough in .*code\.py:\d+ - at on_step"):
        Loggers([], from_python(on_step, "on_step")).write({"step": 0})


def halves(step: int, n_steps: int) -> float:
    return 1.0 if step < n_steps / 2 else 0.5


def test_what_a_run_compares_is_the_file_or_the_version(tmp_path: Path) -> None:
    def marks(function: Callable[..., float]) -> str:
        decay = open_code(Config(log_path="run"), FromPython(schedule=from_python(function, "schedule"))).decay
        assert decay
        return decay.mark

    assert marks(versioned(halves, "1")) == marks(versioned(halves, "1")) == "halves 1"
    assert marks(versioned(halves, "2")) == "halves 2"
    assert marks(halves) != marks(halves), "without a version nothing proves that it is the same"
    first = plug(tmp_path, "def f(step, n): return 1").mark
    assert plug(tmp_path, "def f(step, n): return 1").mark == first
    assert plug(tmp_path, "def f(step, n): return 2").mark != first


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"evaluator": "{}:none"}, r"none\(\) cannot be called with a sampler - at --evaluator"),
        ({"logger": "{}:none"}, r"none\(\) cannot be called with a line of metrics - at --logger"),
        ({"schedule": "{}:one"}, r"one\(a\) cannot be called with a step and the number of steps - at --schedule"),
        ({"schedule": "linear"}, r"expected FILE\.py:NAME, got 'linear' - at --schedule"),
        ({"loss": "ppo={}:none"}, r"none\(\) cannot be called with an example - at --loss"),
        (
            {"loss": "{}:one"},
            r"one\(a\) cannot be called with a list of datums and a list of log-prob.* - at --loss",
        ),
        ({"evaluator": "{}:three"}, r"three is a int, not a function of a sampler - at --evaluator"),
        ({"evaluator": "{}:on"}, r"unknown name in .*mine\.py 'on', did you mean 'one'"),
        ({"logger": "{}x:none"}, r"no file .* with a logger in it|expected FILE\.py:NAME"),
    ],
)
def test_code_that_cannot_be_called_is_refused_before_the_run(
    settings: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def none(): ...\ndef one(a): ...\nthree = 3")
    with pytest.raises(InputError, match=sentence):
        open_code(Config(log_path="run", **{key: text.format(file) for key, text in settings.items()}), FromPython())  # type: ignore[arg-type]
