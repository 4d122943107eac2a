from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lesion_transfer.data import shards
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store
from lesion_transfer.data.splits import Partition
from lesion_transfer.data.summary import (
    balance,
    balance_of_designs,
    fold_parts,
    pixel_statistics,
)
from lesion_transfer.protocols import Preparation


def test_pixel_statistics_are_those_of_the_whole_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MOST_ROWS", 7)
    monkeypatch.setattr("lesion_transfer.data.store._BLOCK_BYTES", 3 * 16 * 16 * 3 + 5)
    data = open_dataset("synthetic")
    data = replace(data, records=data.records[:20])
    store = build_store(data, Preparation(size=16), tmp_path)
    whole = np.asarray(store.images, np.float64)
    assert [len(block) for block in store.blocks()] == [3, 3, 1, 3, 3, 1, 3, 3]
    statistics = pixel_statistics(store)
    np.testing.assert_allclose(statistics.mean_image, whole.mean(axis=0))
    np.testing.assert_allclose(statistics.mean, whole.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(statistics.sd, whole.std(axis=(0, 1, 2)))


def _index(diagnoses: list[str], splits: list[str] | None = None) -> pd.DataFrame:
    names = [f"{number:03}" for number in range(len(diagnoses))]
    return pd.DataFrame(
        {
            "image_id": names,
            "group_id": names,
            "diagnosis": diagnoses,
            "split": splits or [""] * len(names),
        }
    )


def test_every_fold_of_every_design_is_counted() -> None:
    table = balance_of_designs(_index(["melanoma"] * 10 + ["nevus"] * 30), seed=7, repeats=5)
    assert set(table["seed"]) == {7}
    assert set(table["design"]) == {"malignant_vs_benign", "melanoma_vs_benign", "native"}
    melanoma = table[table["design"] == "melanoma_vs_benign"]
    assert melanoma["fold"].nunique() == 10
    assert (melanoma.groupby(["fold"])["images"].sum() == 40).all()
    positive = melanoma[melanoma["class"] == "melanoma"]
    assert set(positive["images"]) == {5}
    assert set(positive["share"]) == {0.25}


def test_the_official_split_is_counted() -> None:
    index = _index(["level_0", "level_1"] * 4, ["train"] * 6 + ["test"] * 2)
    table = balance_of_designs(index, seed=0, repeats=1)
    official = table[table["fold"] == "official"]
    assert set(official["design"]) == {"native"}
    assert official[["part", "class", "images"]].to_numpy().tolist() == [
        ["test", "level_0", 1],
        ["test", "level_1", 1],
        ["train", "level_0", 3],
        ["train", "level_1", 3],
    ]


def test_the_folds_that_are_given_are_counted() -> None:
    labels = np.array([0, 0, 1, 1, 0])
    partition = Partition(3, (np.array([0, 1, 2]), np.array([3, 4])))
    groups = np.array(["a", "a", "b", "c", "d"], object)
    table = balance(labels, ("benign", "melanoma"), groups, fold_parts([partition]))
    assert table.to_numpy().tolist() == [
        ["3x1", "train", "benign", 2, 1, 0.6667],
        ["3x1", "train", "melanoma", 1, 1, 0.3333],
        ["3x1", "test", "benign", 1, 1, 0.5],
        ["3x1", "test", "melanoma", 1, 1, 0.5],
        ["3x2", "train", "benign", 1, 1, 0.5],
        ["3x2", "train", "melanoma", 1, 1, 0.5],
        ["3x2", "test", "benign", 2, 1, 0.6667],
        ["3x2", "test", "melanoma", 1, 1, 0.3333],
    ]
