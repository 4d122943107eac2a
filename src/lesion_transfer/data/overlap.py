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
    keys = ["image_id", "file_sha256"]
    same = train.index[keys].merge(test.index[keys], on="file_sha256", suffixes=("_train", "_test"))
    exact = pd.DataFrame({"train_id": same["image_id_train"], "test_id": same["image_id_test"]})
    pairs = similar_pairs(train.fingerprints, test.fingerprints)
    similar = pd.DataFrame(
        {
            "train_id": train.index["image_id"].to_numpy(object)[pairs[:, 0]],
            "test_id": test.index["image_id"].to_numpy(object)[pairs[:, 1]],
        }
    )
    both = pd.concat([exact.assign(kind="same file"), similar.assign(kind="similar")])
    return both.drop_duplicates(["train_id", "test_id"], ignore_index=True)


def refuse_overlap(train: ImageStore, test: ImageStore) -> None:
    """Refuse to test on pictures that were trained on.

    Raises
    ------
    UserError
        The stores share a picture: the same file, or a similar one.
    """
    shared = find_overlap(train, test)
    if shared.empty:
        return
    first = "\n".join(
        f"  {row.test_id} of {test.dataset}: {row.kind} as {row.train_id} of {train.dataset}"
        for row in shared.head(5).itertuples()
    )
    raise UserError(
        f"{shared['test_id'].nunique()} of {len(test.index)} test images of {test.dataset} are in "
        f"the training images of {train.dataset}, the first of them:\n{first}",
        expected="an external test set without training images",
        next_step="remove these images from one of the two data sets",
    )
