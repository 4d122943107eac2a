"""Folds out of a file, through the stages."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.errors import UserError
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.plan import plan
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.stages.workspace import workspace
from lesion_transfer.study import Fold

IDS = [record.image_id for record in open_dataset("synthetic").records]
LEFT_OUT = IDS[-1]


@pytest.fixture(scope="module")
def file(world) -> Path:
    """Five entries, each even one the swap of the odd one before it, as in the paper's files."""
    listed = [f"{name.upper()}.tiff" for name in IDS[:-1]]
    halves = [[listed[::2], listed[1::2]], [listed[:200], listed[200:]], [listed[1:], listed[:1]]]
    halves[2] = [listed[::3] + listed[1::3], listed[2::3]]
    entries = [halves[0], halves[0][::-1], halves[1], halves[1][::-1], halves[2]]
    path = world.folder / "folds.yml"
    path.write_text(yaml.safe_dump({f"Fold_{k}": e for k, e in enumerate(entries, start=1)}))
    return path


def _request(world, **values) -> EvaluateRequest:
    return EvaluateRequest(**world.options(source="none", finetune=False) | values)


def _plan(world, **values):
    request = _request(world, **values)
    with workspace(request) as ws:
        return plan(ws, request)


@pytest.mark.slow
def test_a_fold_is_trained_and_tested_on_the_files_halves(world, file):
    result = evaluate(_request(world, folds=f"{file}:2x1"))
    predictions = pd.read_parquet(world.artifact(result.folds[0].run_id, "predictions.parquet"))
    split = pd.read_csv(world.artifact(result.folds[0].run_id, "split.csv"))
    listed = IDS[:-1]
    assert set(predictions["image_id"]) <= set(listed[200:])
    assert set(split["image_id"]) <= set(listed)
    assert LEFT_OUT not in set(split["image_id"])
    run = world.client.get_run(result.folds[0].run_id)
    assert run.data.params["folds_file"] == "folds.yml"
    table = pd.read_csv(world.artifact(result.run_id, "fold_balance.csv"))
    used = set(result.planned.ids)  # by the design
    counts = table.groupby(["fold", "part"])["images"].sum()
    assert counts["2x1", "train"] == counts["2x2", "test"] == len(used & set(listed[:200]))
    assert counts["3x1", "test"] == len(used & set(listed[2::3]))


def test_results_on_a_file_are_never_those_on_other_folds(world, file):
    hashed, published = _plan(world), _plan(world, folds=str(file))
    loop = _plan(world, folds=str(file), reproduce_original_loop=True)
    fold = Fold(repeat=1, half=1)
    plans = (hashed, published, loop)
    assert len({planned.arm_key for planned in plans}) == 3
    assert len({planned.fold_key(fold) for planned in plans}) == 3
    assert len({planned.features_key(fold) for planned in plans}) == 1  # frozen: shared by all
    assert [len(planned.folds) for planned in plans] == [2, 6, 10]
    first, second = loop.fold_rows(fold), loop.fold_rows(Fold(repeat=2, half=2))
    assert first.test.tolist() == second.test.tolist()


def test_the_original_loop_needs_a_file(world):
    with pytest.raises(UserError, match="needs the folds published"):
        _plan(world, reproduce_original_loop=True)


def test_a_fold_beyond_the_file_is_refused(world, file):
    with pytest.raises(UserError, match="4x1 is beyond"):
        _plan(world, folds=f"{file}:4x1")
