"""What `recipes/prepare.py` can be asked, and how it makes a store: on this machine by all cores, or on a Ray cluster.

The store is the one that training with the same data, renderer and tokenizer looks for; where it is whole already,
nothing is done.
"""

import os
from collections.abc import Callable
from time import perf_counter
from typing import Annotated, ClassVar

from kernel.options import Truncation
from shell.data.cache_folders import prepared_root
from shell.settings.config import DataConfig, Length, Size, Text
from shell.settings.flags import doc


class PrepareConfig(DataConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Render conversations to tokens once, for all runs that train on them."""

    headings: ClassVar[dict[str, str]] = {"dataset": "Data", "model_name": "Model", "truncation": "TokenCache"}
    examples: ClassVar[tuple[str, ...]] = (
        "--dataset chats.jsonl --model-name Qwen/Qwen3-8B",
        "--dataset s3://b/a.parquet --ray auto",
    )

    truncation: Annotated[Truncation, doc("keep_answer alone cuts before rows are kept", "HOW")] = Truncation.RIGHT
    max_length: Annotated[Length, doc("tokens that keep_answer cuts to")] = 32768
    prepared_dir: Annotated[Text | None, doc("where stores are; by default ~/.cache/tinsmith", "FOLDER")] = None
    workers: Annotated[Size | None, doc("processes; by default one a core")] = None
    ray: Annotated[Text | None, doc("a Ray cluster: local, auto, or its address", "WHERE")] = None


def prepare(
    config: PrepareConfig, done: Callable[[int, int], object], say: Callable[[str], object] = print
) -> dict[str, object]:
    """Makes the store that a config names.

    Args:
        config: what to prepare.
        done: is told how many rows of how many are there.
        say: is told, in lines, what is made and what came of it.

    Returns:
        The store's `key` and `folder`, its `n_rows`, `n_bytes`, and the `seconds` it took.

    Raises:
        InputError: data, renderer or tokenizer cannot be used, the disk refuses, or Ray is not installed.

    Touches: the data's and the tokenizer's files; for those of the Hub the network; the store; processes or a cluster.
    """
    from shell.data.dataset import Dataset
    from shell.data.mixture import mode_of, open_data
    from shell.data.sources import spec_of
    from shell.datums.render_rows import RowRenderer
    from shell.datums.render_settings import render_settings
    from shell.process.cpus import n_cores
    from shell.provenance import key_of, provenance_of
    from shell.text.formats import format_names
    from shell.token_cache.build_spec import BuildSpec
    from shell.token_cache.cache import ShardPlan, TokenCache
    from shell.token_cache.workers import Workers, make_whole

    began = perf_counter()
    names, spec = format_names(config), spec_of(config, test_size=0)
    renderer, tokenizer = names.open()
    source = open_data(spec)
    assert isinstance(source.train, Dataset)
    settings = render_settings(config, mode_of(source, config.train_on_what)).of_cache
    maker = RowRenderer(renderer, tokenizer, settings)
    decided_by = provenance_of(source.train.rows, maker)
    plan = ShardPlan(key_of(decided_by), len(source.train.rows))
    folder = (prepared_root(config.prepared_dir) / plan.key).absolute()
    job = BuildSpec(key=plan.key, folder=str(folder), spec=spec, names=names, settings=settings)

    def tell(n_shards: int, _n_all: int) -> None:
        done(min(n_shards * plan.n_shard, plan.n_rows), plan.n_rows)

    if config.ray is None:
        n_workers = min(config.workers or n_cores(), plan.n_shards)
        make_whole(job, plan, decided_by, Workers(job, n_workers), tell)
    else:
        from shell.token_cache.ray_build import make_on_ray

        make_on_ray(job, plan, decided_by, config.ray, config.workers, tell)
    store = TokenCache(folder, plan, say)
    seconds = perf_counter() - began
    size = f"{store.n_bytes / 1e6:,.1f} MB in {plan.n_shards:,} shards"
    say(f"prepared  {plan.n_rows:,} rows of {source.name} for {names.renderer}, {size}, {seconds:.1f} s: {folder}")
    return {
        "key": plan.key,
        "folder": os.fspath(folder),
        "n_rows": plan.n_rows,
        "n_bytes": store.n_bytes,
        "seconds": seconds,
    }
