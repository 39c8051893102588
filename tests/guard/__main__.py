"""Writes what the guards compare with anew."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.guard import test_runs, test_token_cache

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for renderer in test_token_cache.RENDERERS:
            test_token_cache.save(renderer, Path(folder))
        for name in test_runs.RUNS:
            test_runs.save(name, Path(folder))
