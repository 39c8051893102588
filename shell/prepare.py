"""The prepare command: builds a token cache, by all cores or on a Ray cluster.

The cache is the one that training with the same data, renderer and tokenizer looks for; a whole one is left as it is.
"""

import os
from collections.abc import Callable
from functools import partial
from time import perf_counter

from kernel.row_keys import ignored_keys
from shell.settings.config import PrepareConfig


def run_prepare(config: PrepareConfig) -> None:
    """Builds the token cache, with its progress on the screen."""
    from shell.run_dir.progress_display import row_progress

    prepare(config, row_progress())


def prepare(
    config: PrepareConfig, progress: Callable[[int, int], object], log: Callable[[str], object] = print
) -> dict[str, object]:
    """Builds the token cache that a config names.

    Args:
        progress: (rows that are done, all rows).

    Returns:
        The cache's `key` and `folder`, its `n_rows`, `n_bytes`, and the `seconds` it took.

    Raises:
        InputError: data, renderer or tokenizer cannot be used, the disk refuses, or Ray is not installed.
    """
    from shell.data.dataset import Dataset
    from shell.data.load_dataset import spec_of
    from shell.data.mixture_spec import mode_of, open_data
    from shell.data.open_file import prepared_root
    from shell.datums.render_rows import RowRenderer
    from shell.datums.render_settings import render_settings
    from shell.fingerprints import key_of, provenance_of
    from shell.process.gc_and_cpus import n_cores
    from shell.text.renderer_by_name import format_names
    from shell.token_cache.build import BuildShards, BuildSpec, build_cache
    from shell.token_cache.cache import ShardPlan, TokenCache
    from shell.token_cache.workers import Workers, build_on_ray

    began = perf_counter()
    names, data_spec = format_names(config), spec_of(config, test_size=0)
    renderer, tokenizer = names.open()
    source = open_data(data_spec)
    assert isinstance(source.train, Dataset)
    source.train.rows.check()
    if source.train.rows.ignored:
        log(f"ignored   {ignored_keys(source.train.rows.ignored)}")
    settings = render_settings(config, mode_of(source, config.train_on_what)).of_cache
    provenance = provenance_of(source.train.rows, RowRenderer(renderer, tokenizer, settings))
    plan = ShardPlan(key_of(provenance), len(source.train.rows))
    folder = (prepared_root(config.prepared_dir) / plan.key).absolute()
    spec = BuildSpec(key=plan.key, folder=str(folder), spec=data_spec, names=names, settings=settings)
    build_shards: BuildShards = (
        Workers(spec, min(config.workers or n_cores(), plan.n_shards)).build
        if config.ray is None
        else partial(build_on_ray, spec, config.ray, config.workers)
    )
    build_cache(folder, plan, provenance, build_shards, progress, log)
    cache = TokenCache(folder, plan, log)
    seconds = perf_counter() - began
    size = f"{cache.n_bytes / 1e6:,.1f} MB in {plan.n_shards:,} shards"
    log(f"prepared  {plan.n_rows:,} rows of {source.name} for {names.renderer}, {size}, {seconds:.1f} s: {folder}")
    return {
        "key": plan.key,
        "folder": os.fspath(folder),
        "n_rows": plan.n_rows,
        "n_bytes": cache.n_bytes,
        "seconds": seconds,
    }
