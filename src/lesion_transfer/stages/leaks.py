"""The leak guard between data sets: no network is tested on a picture that it was trained on.

Within a data set, groups see to that (:mod:`lesion_transfer.data.duplicates`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lesion_transfer.data.overlap import find_copies, find_overlap, refuse
from lesion_transfer.data.store import MANIFEST, ImageStore, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.stages.seen import Seen
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import digest
from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag


def refuse_seen_images(ws: Workspace, seen: Seen, test: ImageStore) -> None:
    """Refuse a test set that shares pictures with what a network was trained on.

    A training store that is at hand is searched for similar pictures too, one that is not for the
    same files and pixels, which its run lists. A note names the origins of which nothing is known.

    Raises
    ------
    UserError
        It shares one, or the run of a data set is gone.
    """
    for data in seen.data:
        pair = digest(data, test.digest)
        if pair not in ws.apart:
            _refuse_images_of(ws, data, test)
            ws.apart.add(pair)
    for name in seen.unknown:
        ws.progress.note(f"what {name} was trained on is not known: check it for test images")


def _refuse_images_of(ws: Workspace, data: str, test: ImageStore) -> None:
    folder = _stores(ws).get(data)
    if folder is not None:
        store = open_store(folder)
        refuse(find_overlap(store, test), store.dataset, test)
    else:
        run = data_run(ws, data)
        table = ws.tracker.artifact(run.id, "index.csv")
        index = pd.read_csv(table, dtype=str, keep_default_na=False)
        refuse(find_copies(index, test.index), run.tags["dataset"], test)


def data_run(ws: Workspace, data: str) -> StoredRun:
    """Return a run that describes the data set with this digest, of whichever experiment.

    Raises
    ------
    UserError
        It is gone.
    """
    kind: dict[str, str] = {Tag.KIND: Kind.DATASET.value, Tag.STATE: COMPLETE}
    run = next(ws.tracker.search({**kind, Tag.DATA_DIGEST: data}, *ws.tracker.experiments()), None)
    if run is None:
        raise UserError(
            f"the run that describes the data set {data[:16]} is gone: its images, which the "
            "network was trained on, cannot be told from new ones",
            next_step="restore it, or run preprocess for that data set again",
        )
    return run


def _stores(ws: Workspace) -> dict[str, Path]:
    """Return the folder of each image store in the cache, by its digest."""
    return {
        json.loads(manifest.read_text(encoding="utf-8"))["digest"]: manifest.parent
        for manifest in (ws.cache / "stores").glob(f"*/{MANIFEST}")
    }
