"""Arms are read without their folds, and never say more than their folds do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _get_store

from lesion_transfer.stages.arms import LONGEST_INDEX, FoldScore, fold_index, stored_arms
from lesion_transfer.tracking import Kind, Tag, Tracker, Unit

SCORES = {"1x1": 0.1 + 0.2, "1x2": 0.75}


@pytest.fixture
def tracker(world, tmp_path: Path) -> Tracker:
    """An experiment of the test's own."""
    world.enter(str(tmp_path))
    return Tracker()


@pytest.fixture
def client(world) -> MlflowClient:
    return world.client


def fold(tracker: Tracker, arm: str, name: str, auc: float, *, complete: bool = True) -> str:
    unit = Unit(
        Kind.FOLD,
        f"{arm} {name}",
        name,
        "a fold",
        {"model": "A", "fold": name},
        tags={Tag.ARM: arm},
    )
    with tracker.open(unit) as run:
        run.metrics({"auc": auc})
        if complete:
            run.complete()
    return run.id


def arm(
    tracker: Tracker,
    key: str = "arm",
    scores: dict[str, float] = SCORES,
    *,
    complete: bool = True,
    index: Callable[[list[FoldScore]], str] = fold_index,
) -> dict[str, str]:
    """Write an arm with its folds, as a study does; return the ids of their runs."""
    ids = {name: fold(tracker, key, name, auc) for name, auc in scores.items()}
    found = [FoldScore.of(run) for run in tracker.search({Tag.KIND: Kind.FOLD.value, Tag.ARM: key})]
    unit = Unit(Kind.ARM, key, key, "an arm", {"model": "A"}, tags={Tag.FOLDS_EXPECTED: "2"})
    with tracker.open(unit) as run:
        run.tags({Tag.FOLDS: index(found)})
        if complete:
            run.complete()
    return ids | {"arm": run.id}


def read(tracker: Tracker) -> dict[str, float]:
    (found,) = stored_arms(tracker, {})
    return {fold.fold: fold.auc for fold in found.folds}


def test_an_arm_says_what_its_folds_do(tracker: Tracker):
    ids = arm(tracker)
    (found,) = stored_arms(tracker, {"model": "A"})
    assert (found.run_id, found.expected_folds) == (ids["arm"], 2)
    for score in found.folds:
        run = tracker.find(f"arm {score.fold}")
        assert score == FoldScore.of(run)
        assert score.auc == SCORES[score.fold]  # to the last digit
    assert stored_arms(tracker, {"model": "B"}) == []


def test_an_intact_arm_is_taken_at_its_word(tracker: Tracker):
    def other(folds: list[FoldScore]) -> str:
        return fold_index(folds).replace("0.75", "0.5")

    arm(tracker, index=other)
    assert read(tracker)["1x2"] == 0.5


def test_a_deleted_fold_is_not_counted(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker)
    arm(tracker, "bystander")
    client.delete_run(ids["1x1"])
    counts = {found.tags[Tag.KEY]: len(found.folds) for found in stored_arms(tracker, {})}
    assert counts == {"arm": 1, "bystander": 2}


def test_a_fold_that_is_gone_for_good_is_not_counted(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker)
    client.delete_run(ids["1x1"])
    _get_store(client.tracking_uri)._hard_delete_run(ids["1x1"])  # what `mlflow gc` does
    assert read(tracker) == {"1x2": 0.75}


def test_a_replaced_fold_is_counted_with_its_new_result(tracker: Tracker):
    arm(tracker)
    fold(tracker, "arm", "1x2", 0.8)
    assert read(tracker) == SCORES | {"1x2": 0.8}


def test_a_fold_that_is_incomplete_again_is_not_counted(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker)
    client.set_tag(ids["1x2"], Tag.STATE, "started")
    assert set(read(tracker)) == {"1x1"}


def test_an_arm_without_any_fold_left_is_none(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker)
    for name in SCORES:
        client.delete_run(ids[name])
    assert stored_arms(tracker, {}) == []


def test_an_incomplete_arm_shows_every_complete_fold(tracker: Tracker):
    """Also those that its index does not name yet: other processes may be at work."""
    arm(tracker, scores={"1x1": 0.7}, complete=False)
    fold(tracker, "arm", "1x2", 0.9)
    fold(tracker, "arm", "2x1", 0.9, complete=False)
    assert read(tracker) == {"1x1": 0.7, "1x2": 0.9}


@pytest.mark.parametrize("how", ["never written", "too long"])
def test_without_an_index_the_folds_are_read(tracker: Tracker, how: str):
    def index(folds: list[FoldScore]) -> str:
        return "" if how == "never written" else fold_index(folds * 100)

    arm(tracker, index=index)
    assert read(tracker) == SCORES


def test_the_newest_of_two_runs_of_a_fold_counts(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker, complete=False)
    fold(tracker, "arm", "1x2", 0.8)
    client.restore_run(ids["1x2"])
    assert read(tracker) == SCORES | {"1x2": 0.8}


def test_of_two_runs_of_an_arm_the_complete_one_is_read(tracker: Tracker, client: MlflowClient):
    ids = arm(tracker)
    old = client.get_run(ids["arm"]).data.tags
    client.create_run(tracker.experiment_id, tags=old | {Tag.STATE: "started"})
    (found,) = stored_arms(tracker, {})
    assert found.run_id == ids["arm"]


def test_a_deleted_arm_is_no_longer_shown(tracker: Tracker, client: MlflowClient):
    client.delete_run(arm(tracker)["arm"])
    assert stored_arms(tracker, {}) == []


def test_fifty_folds_fit_in_the_index():
    folds = [
        FoldScore("f" * 32, f"{repeat}x1", 0.8123456789012345, 1764028800000, "")
        for repeat in range(1, 51)
    ]
    assert 0 < len(fold_index(folds)) <= LONGEST_INDEX
