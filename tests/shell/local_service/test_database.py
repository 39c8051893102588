"""The store: what is saved comes back whole, under its path, until its time is over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shell.local_service import UserError, database
from shell.local_service.database import Database
from shell.local_service.model.learner import AdamParams, Adapter, Learner, new_learner, step

PATH = "tinker://m/weights/first"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path) as opened:
        database.add_model(opened, "m", "s", None, now=0)
        yield opened


def some_learner(seed: int = 0) -> Learner:
    learner = new_learner("base", Adapter(rank=2, seed=seed, train_mlp=False))
    gradient = np.random.default_rng(seed).standard_normal(learner.adapter.size).astype(np.float32)
    stepped, _ = step(learner, AdamParams())
    return Learner(base_model="base", adapter=learner.adapter, parameters=gradient, adam=stepped.adam)


def with_gradient(learner: Learner) -> Learner:
    return Learner(
        base_model=learner.base_model,
        adapter=learner.adapter,
        parameters=learner.parameters,
        adam=learner.adam,
        gradient=learner.parameters * 2,
    )


def keep(db: Database, learner: Learner, *, now: float = 0, **fields: Any) -> None:
    checkpoint = database.Checkpoint(PATH, "m", "training", "first", learner, None, None)._replace(**fields)
    with db.transaction():
        database.write_checkpoint(db, checkpoint, now=now)


def assert_same(one: Learner, other: Learner) -> None:
    assert (one.base_model, one.adapter, one.adam.n_steps) == (other.base_model, other.adapter, other.adam.n_steps)
    assert np.array_equal(one.parameters, other.parameters)
    assert np.array_equal(one.adam.mean, other.adam.mean)
    assert np.array_equal(one.adam.square, other.adam.square)
    assert (one.gradient is None) == (other.gradient is None)
    assert one.gradient is None or np.array_equal(one.gradient, other.gradient)


def test_a_checkpoint_holds_the_model_and_its_optimizer(db: Database) -> None:
    keep(db, some_learner())
    assert_same(database.load(db, PATH, now=1), some_learner())


@pytest.mark.parametrize("change", [with_gradient, lambda _: some_learner(1), lambda _: with_gradient(some_learner(1))])
def test_a_live_model_is_found_as_it_was_left(db: Database, change: Any) -> None:
    before = some_learner()
    after = change(before)
    database.write_learner(db, "m", before, None)
    assert_same(database.read_learner(db, "m"), before)
    database.write_learner(db, "m", after, before)
    assert_same(database.read_learner(db, "m"), after)


def test_a_step_uses_the_gradient_up(db: Database) -> None:
    before = with_gradient(some_learner())
    database.write_learner(db, "m", before, None)
    after, _ = step(before, AdamParams())
    database.write_learner(db, "m", after, before)
    assert database.read_learner(db, "m").gradient is None


def test_an_expired_checkpoint_says_so_before_and_after_it_is_cleared(db: Database) -> None:
    keep(db, some_learner(), now=100, ttl_s=50)
    assert_same(database.load(db, PATH, now=149), some_learner())
    with pytest.raises(UserError, match="expired"):
        database.load(db, PATH, now=150)
    database.drop_old(db, now=150, since=0)
    with pytest.raises(UserError, match="expired"):
        database.load(db, PATH, now=151)


def test_a_taken_name_is_overwritten_only_when_asked_or_expired(db: Database) -> None:
    keep(db, some_learner(0), ttl_s=50)
    with pytest.raises(UserError, match="exists already"):
        keep(db, some_learner(1), overwrite=False)
    assert_same(database.load(db, PATH, now=1), some_learner(0))
    keep(db, some_learner(2), overwrite=True, ttl_s=50)
    assert_same(database.load(db, PATH, now=1), some_learner(2))
    keep(db, some_learner(3), overwrite=False, now=60)
    assert_same(database.load(db, PATH, now=61), some_learner(3))


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 300, "é"])
def test_a_name_that_would_not_fit_a_path_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="checkpoint name"):
        database.checkpoint_path("m", "training", name)


@pytest.mark.parametrize("ttl_s", [0, -5, 10**12])
def test_a_time_to_live_out_of_range_is_refused(ttl_s: int) -> None:
    with pytest.raises(UserError, match="ttl_seconds"):
        database.expiry(ttl_s, now=0)


def test_a_finished_session_keeps_what_was_named(db: Database) -> None:
    db.run("INSERT INTO sessions (session_id, created, alive, finished) VALUES ('s', 0, 0, 1)")
    database.write_learner(db, "m", some_learner(), None)
    keep(db, some_learner())
    keep(db, some_learner(), path="tinker://m/sampler_weights/unnamed-1", kind="sampler", listed=False)
    database.drop_old(db, now=2, since=0)
    assert_same(database.load(db, PATH, now=3), some_learner())
    with pytest.raises(UserError, match="session is finished"):
        database.read_learner(db, "m")
    with pytest.raises(UserError, match="no checkpoint"):
        database.load(db, "tinker://m/sampler_weights/unnamed-1", now=3)


def test_a_session_ends_by_itself_after_days_of_silence(db: Database) -> None:
    db.run("INSERT INTO sessions (session_id, created, alive) VALUES ('s', 0, 0)")
    database.write_learner(db, "m", some_learner(), None)
    long = database.SILENCE_S + 1
    database.drop_old(db, now=long, since=long - 10)
    assert_same(database.read_learner(db, "m"), some_learner())
    database.drop_old(db, now=long, since=0)
    with pytest.raises(UserError, match="session is finished"):
        database.read_learner(db, "m")
