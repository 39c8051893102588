"""Caches: the same tokens as rendering anew, whoever builds, whatever was cut short, and whatever was damaged."""

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.errors import InputError
from kernel.length_limit import LengthPolicy, Truncation
from kernel.renderers import RENDERERS
from shell.data.rows import ListRows
from shell.datums.render_rows import RowRenderer
from shell.text.tokenizer import open_tokenizer
from shell.token_cache import build as build_module
from shell.token_cache import cache as cache_module
from shell.token_cache.build import build_shard, building, finish, has_older, missing_shards, put_shard
from shell.token_cache.cache import (
    MANIFEST,
    REFRESH_EVERY,
    CachedRows,
    ShardPlan,
    TokenCache,
    render_uncached,
    shard_name,
)
from tests.golden.cases import CASES
from tests.shell.token_cache.caches import BAD, SILENT, TOKENIZER, assert_same, begun, built, content, maker_of, row

N = 2500  # three shards
ROWS = [row(i) for i in range(N)]
ORDER = np.random.default_rng(0).permutation(N)
FAST = open_tokenizer("sample", encoder="fast")


@pytest.fixture(scope="module")
def whole_cache(tmp_path_factory: pytest.TempPathFactory) -> TokenCache:
    return built(tmp_path_factory.mktemp("whole"), ListRows(ROWS), maker_of())


@pytest.fixture(autouse=True, params=[1 << 27, 0], ids=["mapped", "read"])
def _most_mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small caches are mapped into memory; of large ones rows are read."""
    monkeypatch.setattr(cache_module, "MAX_MAPPED", request.param)


@pytest.fixture
def cache(whole_cache: TokenCache, tmp_path: Path) -> TokenCache:
    """One of its own for each test."""
    folder = tmp_path / whole_cache.folder.name
    shutil.copytree(whole_cache.folder, folder)
    return TokenCache(folder, whole_cache.plan)


MAPPED = pytest.mark.parametrize("_most_mapped", [1 << 27], ids=["mapped"], indirect=True)


def places(rows: ListRows, numbers: Any) -> list[str]:
    return [rows.place(int(i)) for i in numbers]


@pytest.mark.parametrize("renderer", [pytest.param("role_colon", marks=pytest.mark.slow), "qwen3", "qwen3_5"])
def test_rows_out_of_a_cache_are_those_rendered_render_uncached(tmp_path: Path, renderer: str) -> None:
    rows, maker = ListRows([row(i, renderer != "role_colon") for i in range(N)]), maker_of(renderer)
    cache = built(tmp_path, rows, maker)
    assert cache.is_whole
    render, fresh = CachedRows(cache, render_uncached(rows, maker)), render_uncached(rows, maker)
    for numbers in np.array_split(ORDER, 9):
        assert_same(render(numbers, places(rows, numbers)).result(), fresh(numbers, places(rows, numbers)).result())


@MAPPED
@pytest.mark.parametrize("renderer", RENDERERS)
def test_golden_rows_out_of_a_cache_that_the_fast_encoder_made_are_those_of_the_authority(
    tmp_path: Path, renderer: str
) -> None:
    rows = ListRows(list(CASES.values()))
    slow, fast = (
        RowRenderer(RENDERERS[renderer], tokenizer, maker_of(lenient=True).settings) for tokenizer in (TOKENIZER, FAST)
    )
    cache, numbers = built(tmp_path, rows, fast), np.arange(len(rows))
    fresh = render_uncached(rows, slow)
    assert_same(
        CachedRows(cache, fresh)(numbers, places(rows, numbers)).result(),
        fresh(numbers, places(rows, numbers)).result(),
    )
    assert cache.count(numbers)[0].n_trained > len(rows) // 4


def test_rows_of_a_half_built_store_are_those_rendered_anew_and_it_is_taken_up_as_it_comes(tmp_path: Path) -> None:
    rows, maker = ListRows(ROWS), maker_of()
    folder, plan, _ = begun(tmp_path, rows, maker)
    folder.mkdir()
    put_shard(folder, 1, build_shard(rows, maker, plan, 1))
    cache = TokenCache(folder, plan)
    assert cache.missing() == [0, 2]
    fresh = render_uncached(rows, maker)
    asked: list[int] = []

    def counted(numbers: Any, at: Any) -> Any:
        asked.append(len(numbers))
        return fresh(numbers, at)

    render = CachedRows(cache, counted)
    numbers = ORDER[:200]
    assert_same(render(numbers, places(rows, numbers)).result(), fresh(numbers, places(rows, numbers)).result())
    assert asked == [int((numbers // 1024 != 1).sum())]
    for number in (0, 2):
        put_shard(folder, number, build_shard(rows, maker, plan, number))
    for _ in range(REFRESH_EVERY):
        render(numbers[:2], places(rows, numbers[:2])).result()
    assert cache.is_whole
    asked.clear()
    render(numbers, places(rows, numbers)).result()
    assert not asked


def test_a_row_that_cannot_be_used_is_said_with_its_place_as_if_there_were_no_cache(tmp_path: Path) -> None:
    rows = [*ROWS[:1100], BAD, *ROWS[1101:1200]]
    strict, lenient = maker_of(), maker_of(lenient=True)
    cache = built(tmp_path, ListRows(rows), strict)
    moved = ListRows(rows, "elsewhere")  # the same content under another name has the same cache
    assert begun(tmp_path, moved, lenient)[1].key == cache.plan.key
    numbers = np.arange(1098, 1103)
    with pytest.raises(InputError, match=r"elsewhere\[1100\] \$\.messages\[0\]\.role"):
        CachedRows(cache, render_uncached(moved, strict))(numbers, places(moved, numbers)).result()
    assert_same(
        CachedRows(cache, render_uncached(moved, lenient))(numbers, places(moved, numbers)).result(),
        render_uncached(moved, lenient)(numbers, places(moved, numbers)).result(),
    )


@MAPPED
def test_shortened_prompts_are_kept_with_what_they_were(tmp_path: Path) -> None:
    maker = maker_of("role_colon", 40, length_policy=LengthPolicy(Truncation.KEEP_ANSWER))
    rows = ListRows([row(i, False) for i in range(1100)])
    cache, fresh = built(tmp_path, rows, maker), render_uncached(rows, maker)
    numbers = np.arange(1100)
    whole = fresh(numbers, places(rows, numbers)).result()
    assert whole.shortened
    assert_same(CachedRows(cache, fresh)(numbers, places(rows, numbers)).result(), whole)


def test_the_bytes_of_a_cache_do_not_depend_on_how_it_was_built(tmp_path: Path, whole_cache: TokenCache) -> None:
    rows, maker = ListRows(ROWS), maker_of()
    folder, plan, provenance = begun(tmp_path / "b", rows, maker)
    folder.mkdir(parents=True)
    for number in (2, 0, 1):
        put_shard(folder, number, build_shard(ListRows(ROWS), maker_of(), plan, number))
    finish(folder, plan, provenance)
    assert content(folder) == content(whole_cache.folder)


class CutError(Exception):
    """Stands for a kill."""


def test_a_build_that_was_cut_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_cache: TokenCache
) -> None:
    rows, maker = ListRows(ROWS), maker_of()
    folder, plan, _ = begun(tmp_path / "cut", rows, maker)

    def cut(_done: int, _of: int) -> None:
        if _done == 2 * plan.n_shard:
            raise CutError

    with pytest.raises(CutError):
        built(tmp_path / "cut", rows, maker, cut)
    assert not (folder / MANIFEST).exists()
    (folder / "0000000002.shard.ab.part").write_bytes(b"half")
    made: list[int] = []

    def recorded(*given: Any) -> bytes:
        made.append(given[-1])
        return build_shard(*given)

    monkeypatch.setattr(build_module, "build_shard", recorded)
    built(tmp_path / "cut", rows, maker)
    assert made == [2]
    assert content(folder) == content(whole_cache.folder)


def _build_again(folder: str) -> None:
    built(Path(folder), ListRows(ROWS), maker_of())


@MAPPED
@pytest.mark.slow
def test_two_processes_that_build_one_cache_end_with_the_bytes_of_one(tmp_path: Path, whole_cache: TokenCache) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_build_again, args=(str(tmp_path / "both"),)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    rows, maker = ListRows(ROWS), maker_of()
    folder, *_ = begun(tmp_path / "both", rows, maker)
    assert content(folder) == content(whole_cache.folder)


def test_writers_without_a_lock_between_them_leave_whole_shards(tmp_path: Path) -> None:
    rows, maker = ListRows(ROWS), maker_of()
    folder, plan, provenance = begun(tmp_path, rows, maker)
    folder.mkdir()
    for number in (0, 0, 1, 2, 1):
        put_shard(folder, number, build_shard(rows, maker, plan, number))
    finish(folder, plan, provenance)
    assert TokenCache(folder, plan).is_whole
    assert len(content(folder)) == 4


def test_who_finds_another_building_waits_or_is_told(tmp_path: Path) -> None:
    with building(tmp_path / "cache") as is_ours:
        assert is_ours is True
        with building(tmp_path / "cache", wait=False) as other:
            assert other is False
    with building(tmp_path / "cache", wait=False) as other:
        assert other is True


def damage(path: Path, at: int) -> None:
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(bytes(changed))


@pytest.mark.parametrize("how", ["header", "short", "long", "gone", "foreign", "words", "index"])
def test_a_damaged_shard_is_never_trusted_and_is_made_again(cache: TokenCache, how: str) -> None:
    rows, maker = ListRows(ROWS), maker_of()
    whole, folder, plan = content(cache.folder), cache.folder, cache.plan
    path = folder / shard_name(1)
    if how == "short":
        path.write_bytes(path.read_bytes()[:-4])
    elif how == "long":
        path.write_bytes(path.read_bytes() + bytes(4))
    elif how == "gone":
        path.unlink()
    elif how == "foreign":
        path.write_bytes((folder / shard_name(0)).read_bytes())
    else:
        damage(path, {"header": 20, "words": -1, "index": 200}[how])
    said: list[str] = []
    cache = TokenCache(folder, plan, said.append)
    assert cache.is_whole == (how in ("words", "index"))
    render, numbers = CachedRows(cache, render_uncached(rows, maker)), ORDER
    assert_same(
        render(numbers, places(rows, numbers)).result(),
        render_uncached(rows, maker)(numbers, places(rows, numbers)).result(),
    )
    assert cache.missing() == [1]
    assert len(said) == (how != "gone")
    assert all("shard 1" in line for line in said)
    built(folder.parent, rows, maker)
    assert content(folder) == whole


@pytest.mark.parametrize("text", [b"{", b"{}", b'{"format": 1}', b""])
def test_a_damaged_manifest_is_written_again(cache: TokenCache, text: bytes) -> None:
    whole = content(cache.folder)
    (cache.folder / MANIFEST).write_bytes(text)
    said: list[str] = []
    assert TokenCache(cache.folder, cache.plan, said.append).is_whole
    assert len(said) == 1
    assert not (cache.folder / MANIFEST).exists()
    assert content(built(cache.folder.parent, ListRows(ROWS), maker_of()).folder) == whole


def test_a_cache_without_a_manifest_is_looked_at_to_the_last_byte(cache: TokenCache) -> None:
    whole = content(cache.folder)
    (cache.folder / MANIFEST).unlink()
    damage(cache.folder / shard_name(2), -1)
    built(cache.folder.parent, ListRows(ROWS), maker_of())
    assert content(cache.folder) == whole


def test_a_shard_that_a_run_takes_away_while_the_cache_is_looked_at_is_missing(
    cache: TokenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache.folder / MANIFEST).unlink()

    def opened(folder: Path, plan: ShardPlan) -> TokenCache:
        one = TokenCache(folder, plan)
        (folder / shard_name(1)).unlink(missing_ok=True)
        return one

    monkeypatch.setattr("shell.token_cache.build.TokenCache", opened)
    assert missing_shards(cache.folder, cache.plan) == [1]


def test_a_row_in_which_nothing_is_trained_comes_out_as_it_went_in(tmp_path: Path) -> None:
    rows, maker = ListRows([SILENT, row(1)] * 600), maker_of()
    cache = built(tmp_path, rows, maker)
    counts, others = cache.count(np.arange(1200))
    assert (counts.n_rows, counts.n_trained, len(others)) == (1200, 600, 0)


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 10**6, 10**9 + 1])
def test_the_shards_of_a_plan_hold_every_row_once(n: int) -> None:
    plan = ShardPlan("", n)
    assert plan.rows_of(0).start == 0
    assert plan.rows_of(plan.n_shards - 1).stop == n
    assert all(plan.rows_of(k).stop == plan.rows_of(k + 1).start for k in range(min(plan.n_shards - 1, 50)))
    assert len(plan.rows_of(plan.n_shards - 1)) >= 1


def test_a_cache_of_an_older_version_is_named_where_it_is_built_again(tmp_path: Path) -> None:
    rows, maker = ListRows(ROWS[:20]), maker_of()
    log: list[str] = []
    cache = built(tmp_path, rows, maker, log=log.append)
    _, _, provenance = begun(tmp_path, rows, maker)
    assert not has_older(cache.folder, provenance)
    built(tmp_path, rows, maker_of("qwen3_instruct"), log=log.append)
    built(tmp_path, ListRows(ROWS[:19]), maker, log=log.append)
    assert log == []
    older = tmp_path / ("0" * 32)
    cache.folder.rename(older)
    text = (older / MANIFEST).read_text()
    (older / MANIFEST).write_text(text.replace(str(provenance["code"]), "another"))
    built(tmp_path, rows, maker, log=log.append)
    assert log == ["token cache: made by an older version, building it again"]
    built(tmp_path, rows, maker, log=log.append)
    assert len(log) == 1
