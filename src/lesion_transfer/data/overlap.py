"""The leak guard between data sets: a picture to test on must not be one that was trained on."""

from __future__ import annotations

import pandas as pd

from lesion_transfer.data.fingerprints import similar_pairs
from lesion_transfer.data.store import ImageStore
from lesion_transfer.errors import UserError


def find_overlap(train: ImageStore, test: ImageStore) -> pd.DataFrame:
    """List what is in both stores: ``train_id``, ``test_id``, ``kind`` (same file or similar).

    The same file is found whatever the two preparations are; similar pictures only where both crop
    alike.
    """
    pairs = similar_pairs(train.fingerprints, test.fingerprints)
    similar = pd.DataFrame(
        {
            "train_id": train.index["image_id"].to_numpy(object)[pairs[:, 0]],
            "test_id": test.index["image_id"].to_numpy(object)[pairs[:, 1]],
        }
    )
    both = pd.concat([find_copies(train.index, test.index), similar.assign(kind="similar")])
    return both.drop_duplicates(["train_id", "test_id"], ignore_index=True)


def find_copies(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """List what is in both indices, as :func:`find_overlap` does of stores that are at hand.

    Finds the same file, and the same pixels after the same preparation; no similar pictures.
    """
    found = []
    for column, kind in (("file_sha256", "same file"), ("pixels_sha256", "same pixels")):
        keys = ["image_id", column]
        same = train[keys].merge(test[keys], on=column, suffixes=("_train", "_test"))
        pairs = {"train_id": same["image_id_train"], "test_id": same["image_id_test"]}
        found.append(pd.DataFrame(pairs).assign(kind=kind))
    return pd.concat(found).drop_duplicates(["train_id", "test_id"], ignore_index=True)


def refuse(shared: pd.DataFrame, trained_on: str, test: ImageStore) -> None:
    """Refuse a test set that shares pictures with a data set that was trained on.

    Raises
    ------
    UserError
        ``shared``, from :func:`find_overlap` or :func:`find_copies`, is not empty.
    """
    if shared.empty:
        return
    first = "\n".join(
        f"  {row.test_id} of {test.dataset}: {row.kind} as {row.train_id} of {trained_on}"
        for row in shared.head(5).itertuples()
    )
    raise UserError(
        f"{shared['test_id'].nunique()} of {len(test.index)} test images of {test.dataset} are in "
        f"the training images of {trained_on}, the first of them:\n{first}",
        expected="test images that no network was trained on",
        next_step="remove them from one of the two data sets, or take another source or model",
    )
