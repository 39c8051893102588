"""Releases of the SDK, each tried: the service-facing tests, and a short run that saves, samples and resumes.

    python tests/sdk_releases.py                # six from the oldest supported to the newest of the index
    python tests/sdk_releases.py 0.24.0 0.38.0  # these

Each is installed into a folder of its own, which goes before this environment's packages on PYTHONPATH. The table is
written to shell/service/SDK_RELEASES.md; the exit code is 1 if something failed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "shell" / "service" / "SDK_RELEASES.md"
TESTS = (
    "tests/shell/service",
    "tests/shell/local_service/test_sdk.py",
    "tests/shell/local_service/test_wire_format.py",
)
N_RELEASES = 6
RUN = (
    *("--service", "embedded", "--lr-schedule", "constant", "--batch-size", "8", "--prepare", "never"),
    *("--eval-every", "2", "--save-every", "2"),
)
FALLBACKS = """
import tinker
from shell.datums.tinker_datums import constructors_of
from shell.service.sdk import takes
from tinker.lib import queue_state_logger
found = {
    "rows sent through public constructors": not constructors_of(tinker).is_fast,
    "no session name": not takes(tinker.ServiceClient, "display_name"),
    "no console link": not hasattr(tinker.ServiceClient, "get_console_url"),
    "sessions end by themselves": not hasattr(tinker.ServiceClient, "close"),
    "look-ups through the service client": not hasattr(tinker, "RestClient"),
    "a paused queue is logged by the SDK's own rule": not hasattr(queue_state_logger, "PAUSE_GRACE_PERIOD"),
}
print("; ".join(name for name, is_missing in found.items() if is_missing) or "none")
"""
HEAD = """# The SDK's releases

Written by `python tests/sdk_releases.py`: for each release the service-facing tests
({tests}),
and whether a run on the local service that saved, sampled and resumed has the losses of one that was not cut. Skipped
tests are of abilities that the release lacks. The oldest is the first that sends `forward` as protobuf, which the local
service reads; `pyproject.toml` sets no upper bound.

| release | passed | skipped | failed | resumed run | what it lacks, and is done without |
|---|---|---|---|---|---|
"""


def main(releases: list[str]) -> int:
    lines, ok = [], True
    for release in releases or chosen():
        with tempfile.TemporaryDirectory() as folder:
            line, is_fine = row(release, Path(folder))
        lines.append(line)
        ok = ok and is_fine
        print(line, flush=True)
    TABLE.write_text(HEAD.format(tests=", ".join(f"`{test}`" for test in TESTS)) + "\n".join(lines) + "\n")
    return 0 if ok else 1


def chosen() -> list[str]:
    """The oldest supported release, the newest, and four between them."""
    found = re.search(r'"tinker>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found
    oldest = numbers(found[1])
    listed = output(sys.executable, "-m", "pip", "index", "versions", "tinker")
    versions = set(re.findall(r"\d+\.\d+\.\d+", listed.partition("Available versions:")[2].partition("\n")[0]))
    supported = sorted((one for one in versions if numbers(one) >= oldest), key=numbers)
    last = len(supported) - 1
    return [supported[round(i * last / (N_RELEASES - 1))] for i in range(N_RELEASES)]


def numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def row(release: str, folder: Path) -> tuple[str, bool]:
    """A release's line of the table, and whether all of it passed."""
    sdk = folder / "sdk"
    output(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(sdk), f"tinker=={release}")
    paths = [str(sdk), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    report = folder / "report.xml"
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *TESTS]
    subprocess.run(pytest, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    suite = ElementTree.parse(report).getroot()[0]
    n, skipped, *bad = (int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors"))
    resumed = resumed_run(folder, env)
    lacks = output(sys.executable, "-c", FALLBACKS, env=env).strip()
    line = f"| {release} | {n - skipped - sum(bad)} | {skipped} | {sum(bad)} | {resumed} | {lacks} |"
    return line, not sum(bad) and resumed == "equal"


def resumed_run(folder: Path, env: Mapping[str, str]) -> str:
    """Whether a run of two steps and two more has the losses of one of four."""

    def losses(name: str, *flags: str) -> list[float]:
        command = [sys.executable, "recipes/sl_basic.py", *RUN, "--log-path", str(folder / name), *flags]
        output(*command, "--sample-prompts", "What is 2 and 2?", env=env)
        rows = map(json.loads, (folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return [row["train_mean_nll"] for row in rows if "train_mean_nll" in row]

    try:
        whole = losses("whole", "--max-steps", "4")
        losses("cut", "--max-steps", "2")
        again = losses("cut", "--max-steps", "4", "--behavior-if-log-dir-exists", "resume")
    except subprocess.CalledProcessError as error:
        return f"failed: {(error.stderr or '').strip().splitlines()[-1:]}"
    return "equal" if whole == again and len(whole) == 4 else "other losses"


def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
