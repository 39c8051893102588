"""Datasets from the Hugging Face Hub through the `datasets` library, which is imported here alone and only when used.

The library asks an unreachable Hub five times over, which takes half a minute, before it looks into its cache. So the
Hub is asked once first, with a deadline: if it does not answer, the copy in the cache is taken if there is one (the
library then says so itself), and otherwise the user hears at once what is wrong and what works without a network.
"""

import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from kernel.errors import InputError, expected

Kind = Literal["dataset", "model"]

SECONDS = 8.0
"""How long the Hub may take to answer the first question."""


def load(
    repo: str,
    config: str | None = None,
    *,
    split: str | None = None,
    streaming: bool = False,
    cache_dir: str | None = None,
) -> Any:
    """What `datasets.load_dataset` gives: tables by split, or the one of `split`, which may be a slice (`train[:1%]`).

    Args:
        repo: `owner/name` on the Hub, or the path of a folder laid out like one.
        config: which of the dataset's configurations.
        split: one split; None: all.
        streaming: read it while it is used instead of copying it first.
        cache_dir: where to keep copies; None: the library's own place.

    Raises:
        InputError: it cannot be reached, does not exist, or is not a dataset.

    Touches: the network, the library's cache and its environment variables.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    folder = Path(repo).expanduser()
    path = str(folder) if folder.is_dir() else repo
    silence = None if folder.is_dir() else unreachable(repo, datasets.config.HF_ENDPOINT)
    if silence is None:
        with readable(f"hf:{repo}"):
            return datasets.load_dataset(path, config, split=split, streaming=streaming, cache_dir=cache_dir)
    try:
        with _offline(datasets.config):
            return datasets.load_dataset(path, config, split=split, streaming=streaming, cache_dir=cache_dir)
    except Exception as error:
        raise InputError(
            f"expected {repo} from the Hugging Face Hub or the cache, got {silence} and no copy in the cache; "
            "a JSONL file needs no network: --dataset FILE.jsonl"
        ) from error


@contextmanager
def readable(at: str) -> Iterator[None]:
    """Turns whatever the library raises within into an InputError that says where."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise expected("a dataset that can be read", _told(error), at=at) from error


def unreachable(repo: str, endpoint: str, seconds: float = SECONDS, kind: Kind = "dataset") -> str | None:
    """Why the Hub cannot be asked about a dataset or a model, or None if it answers, whatever the answer.

    The question runs on a thread of its own, as looking up a name may outlast any time limit of HTTP's.

    Touches: the network, the environment's proxies and token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    def ask() -> str | None:
        try:
            if kind == "dataset":
                HfApi(endpoint=endpoint).dataset_info(repo, timeout=seconds, expand=["sha"])
            else:
                HfApi(endpoint=endpoint).model_info(repo, timeout=seconds, expand=["sha"])
        except HfHubHTTPError as error:
            status = error.response.status_code
            return f"status {status} from {endpoint}" if status >= 500 else None
        except HFValidationError:
            return None
        except Exception as error:
            return f"no answer from {endpoint} ({_told(error)})"
        return None

    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer from {endpoint} in {seconds:g} seconds"


@contextmanager
def _offline(settings: Any) -> Iterator[None]:
    before = settings.HF_HUB_OFFLINE
    settings.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = before


def _told(error: BaseException) -> str:
    """An error of the library in one line. A failure to build a table says why only in its cause."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."
