"""The SDK's differences between releases: clients at once or as futures, errors, look-ups, parameters.

It is `tinker`, or the module of `--sdk`. Errors are known by their fields, so that those of any module are.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from kernel.errors import expected

NEEDED = ("ServiceClient", "AdamParams", "Datum", "EncodedTextChunk", "ModelInput", "SamplingParams", "TensorData")


def load_sdk(name: str) -> ModuleType:
    """The client module of a name; raises if there is none, or it lacks what a run calls."""
    try:
        module = import_module(name)
    except ImportError as error:
        raise expected("a module that can be imported", f"{name} ({error})", at="--sdk") from None
    missing = [needed for needed in NEEDED if not hasattr(module, needed)]
    if missing:
        raise expected(f"a module of the same shape as tinker, with {missing[0]}", f"{name} without it", at="--sdk")
    return module


def settled(client: Any) -> Any:
    """A client, waited for where a release returns it as a future."""
    return client.result() if hasattr(client, "result") else client


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of that name (`**others` is none)."""
    return name in inspect.signature(function).parameters


def version_of(sdk: ModuleType) -> str:
    return str(getattr(sdk, "__version__", "unknown"))


def rest_client(sdk: ModuleType, service: Any, url: str, api_key: str | None) -> Any:
    """The client that deletes and looks up; before 0.36 it was the service client's."""
    kind = getattr(sdk, "RestClient", None)
    return service.create_rest_client() if kind is None else kind(base_url=url, api_key=api_key)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a refused request."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def delete_checkpoint(client: Any, path: str) -> None:
    client.delete_checkpoint_from_tinker_path(path).result()


def root_of(error: BaseException) -> BaseException:
    """What an error was raised from, first of all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def is_users(error: BaseException) -> bool:
    """Whether an accepted request failed by what it asked."""
    category = getattr(error, "category", None)
    return str(getattr(category, "value", category)).lower() == "user"
