"""The table of features, written and read in pieces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lesion_transfer.errors import UserError
from lesion_transfer.stages import features as module
from lesion_transfer.stages.features import read_features, write_features

VALUES = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
IDS = [f"image{row}" for row in range(23)]


@pytest.fixture(autouse=True, scope="module")
def _small_groups():
    """Several row groups in a table of 23 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROUP", 5)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features") / "features.parquet"


def write(path: Path, blocks, storage="float32", ids=IDS) -> None:
    write_features(path, ids, ["all"] * len(ids), ["nevus"] * len(ids), blocks, storage)


@given(cuts=st.lists(st.integers(0, 23), max_size=6))
def test_what_is_written_in_any_pieces_is_read_again(path: Path, cuts: list[int]):
    write(path, np.split(VALUES, sorted(cuts)))
    ids, found = read_features(path)
    assert ids == IDS
    assert_array_equal(found, VALUES)
    assert found.dtype == np.float32


@given(rows=st.lists(st.integers(0, 22), max_size=30))
def test_rows_are_read_in_the_order_asked_for(path: Path, rows: list[int]):
    write(path, [VALUES])
    ids, found = read_features(path, np.array(rows, np.int64))
    assert ids == [IDS[row] for row in rows]
    assert_array_equal(found, VALUES[rows])


def test_it_comes_to_disk_group_by_group(path: Path):
    drawn = []

    def blocks():
        for number, block in enumerate(np.split(VALUES, 23)):
            drawn.append((number, path.stat().st_size if path.exists() else 0))
            yield block

    path.unlink(missing_ok=True)
    write(path, blocks())
    sizes = dict(drawn)
    assert sizes[4] == 0
    assert 0 < sizes[5] < sizes[10] < sizes[20] < path.stat().st_size
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [
        *(5, 5, 5, 5, 3)
    ]


def test_pandas_reads_it(path: Path):
    write(path, [VALUES])
    table = pd.read_parquet(path)
    assert list(table) == ["image_id", "split", "label", "feature"]
    assert_array_equal(np.stack(table["feature"]), VALUES)


def test_float16_halves_the_numbers_and_is_read_as_float32(path: Path):
    write(path, [VALUES], "float16")
    _, found = read_features(path)
    assert found.dtype == np.float32
    assert_array_equal(found, VALUES.astype(np.float16).astype(np.float32))
    assert pq.read_schema(path).field("feature").type.value_type == "halffloat"


def test_what_float16_cannot_hold_is_refused(path: Path):
    with pytest.raises(UserError, match="a feature is 70000, which float16 does not hold") as told:
        write(path, [np.where(VALUES[3, 1] == VALUES, 7e4, VALUES)], "float16")
    assert "65504" in told.value.expected
    write(path, [np.full((1, 3), np.inf, np.float32)], "float16", ids=IDS[:1])  # the SVM says so


@pytest.mark.parametrize(
    ("count", "says"),
    [(22, "expected length 2 but got length 3"), (24, "23 rows .* for 24 images")],
)
def test_another_number_of_rows_is_an_error(path: Path, count: int, says: str):
    with pytest.raises(ValueError, match=says):
        write(path, [VALUES], ids=[f"image{row}" for row in range(count)])
