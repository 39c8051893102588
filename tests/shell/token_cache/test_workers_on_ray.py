"""A cache built by Ray, on this machine: bit for bit that of one process, from nine shards that end out of order."""

import json
from pathlib import Path

import pytest

from kernel.enums import TrainOnWhat
from kernel.errors import InputError
from shell.data.load_dataset import DatasetSpec
from shell.data.open_rows import open_rows
from shell.data.rows import Rows
from shell.prepare import prepare
from shell.settings.cli import main
from shell.settings.config import PrepareConfig
from shell.text.renderer_by_name import FormatNames
from shell.token_cache.build import BuildSpec, finish
from shell.token_cache.cache import MANIFEST, shard_name
from tests.shell.token_cache.caches import begun, built, content, maker_of, row

ray = pytest.importorskip("ray")
N = 8 * 1024 + 5  # nine shards
LINES = [json.dumps(row(i % 600)) for i in range(N)]


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    from shell.token_cache.workers import connected

    with connected("local", 2):
        yield


def jsonl(path: Path) -> Path:
    path.write_text("\n".join(LINES) + "\n")
    return path


def parquet(path: Path) -> Path:
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.Table.from_pylist([json.loads(line) for line in LINES]), path)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jsonl(tmp_path_factory.mktemp("data") / "chats.jsonl")


def alone(rows: Rows, root: Path) -> Path:
    """The folder of the cache as one process builds it."""
    return built(root, rows, maker_of()).folder


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content(alone(open_rows(path), tmp_path_factory.mktemp("alone")))


def test_shards_that_end_out_of_order_are_the_bytes_of_one_process(
    path: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    from shell.token_cache.workers import build_on_ray

    folder, plan, provenance = begun(tmp_path, open_rows(path), maker_of())
    folder.mkdir()
    spec = BuildSpec(
        key=plan.key,
        folder=str(folder),
        spec=DatasetSpec(dataset=str(path)),
        names=FormatNames("qwen3", "sample"),
        settings=maker_of().settings.of_cache,
    )
    ended = list(build_on_ray(spec, "local", 2, range(plan.n_shards)[::-1]))
    assert len(ended) == plan.n_shards >= 8
    assert ended != sorted(ended)
    finish(folder, plan, provenance)
    assert content(folder) == whole


def config_of(dataset: str, root: Path, **more: object) -> PrepareConfig:
    return PrepareConfig(
        dataset=dataset,
        renderer_name="qwen3",
        tokenizer="sample",
        train_on_what="all_assistant_messages",
        prepared_dir=str(root),
        **more,  # type: ignore[arg-type]
    )


def test_an_address_of_fsspec_and_a_cut_build_end_with_the_same_bytes(
    path: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    said: list[str] = []
    config = config_of(f"file://{path}", tmp_path, ray="local", workers=2)
    folder = Path(str(prepare(config, lambda _done, _of: None, said.append)["folder"]))
    assert content(folder) == whole
    assert said[-1].startswith("prepared  8,197 rows of file://")
    for number in (1, 7):
        (folder / shard_name(number)).unlink()
    (folder / shard_name(3)).write_bytes(b"damaged")
    (folder / MANIFEST).unlink()
    told: list[tuple[int, int]] = []
    prepare(config, lambda *so_far: told.append(so_far), said.append)
    assert told[0] == (6 * 1024, N)
    assert content(folder) == whole


def test_parquet_gives_the_bytes_of_one_process(tmp_path: Path) -> None:
    file = parquet(tmp_path / "chats.parquet")
    result = prepare(config_of(str(file), tmp_path / "ray", ray="local", workers=2), lambda _done, _of: None)
    validation = DatasetSpec(dataset="").validation()
    assert content(Path(str(result["folder"]))) == content(alone(open_rows(file, validation), tmp_path / "alone"))


def test_what_cannot_be_built_is_an_error_of_one_sentence(path: Path, tmp_path: Path) -> None:
    from shell.token_cache.workers import build_on_ray

    spec = DatasetSpec(dataset=str(path))
    build_spec = BuildSpec(key="0" * 32, folder=str(tmp_path), spec=spec, names=FormatNames("qwen3", "sample"),
              settings=maker_of(train_on_what=TrainOnWhat.ALL_TOKENS).settings.of_cache)  # fmt: skip
    with pytest.raises(InputError, match="that the cache was begun with"):
        list(build_on_ray(build_spec, "local", 1, [0]))


def test_the_recipe_takes_the_flags_of_the_others(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    told: list[object] = []
    flags = ["--dataset", str(path), "--renderer-name", "qwen3", "--tokenizer", "sample", "--prepared-dir"]
    code = main(
        lambda given: told.append(prepare(given.config, lambda _done, _of: None)),
        [*flags, str(tmp_path), "--workers", "2"],
        PrepareConfig,
    )
    assert code == 0
    assert told
    cache = next(tmp_path.iterdir())
    assert (cache / MANIFEST).exists()
    assert "prepared  8,197 rows" in capsys.readouterr().out
    assert main(lambda given: prepare(given.config, print), ["--dataset", "nowhere.jsonl"], PrepareConfig) == 2  # type: ignore[func-returns-value, arg-type, return-value]
