"""The leak guard between data sets: no network is tested on a picture that it was trained on.

Within a data set, groups see to that (:mod:`lesion_transfer.data.duplicates`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from lesion_transfer.data.adapters import ADAPTERS
from lesion_transfer.data.overlap import find_copies, find_overlap, refuse
from lesion_transfer.data.store import MANIFEST, ImageStore, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import Backbone
from lesion_transfer.protocols import Protocol
from lesion_transfer.stages.preprocess import prepared
from lesion_transfer.stages.pretrain import source_data
from lesion_transfer.stages.requests import NetworkRequest
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Source, digest, is_stored
from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag


def refuse_source_images(
    ws: Workspace,
    request: NetworkRequest,
    protocol: Protocol,
    backbone: Backbone,
    source: Source,
    target: ImageStore,
) -> None:
    """Refuse a source that has seen pictures of the target: in some fold they are test images.

    Raises
    ------
    UserError
        A data set that a link is trained on, or that a stored network was trained on, also one
        that is the backbone, shares a picture with the target.
    """
    for name, root in source_data(request, backbone, source):
        store = prepared(ws, request, protocol, name, root).store
        pair = digest(store.digest, target.digest)
        if pair not in ws.apart:
            refuse(find_overlap(store, target), store.dataset, target)
            ws.apart.add(pair)
    links = [*source.chain]
    if "imagenet" in links:  # the weights that the backbone's file holds, whatever they are of
        links.append(protocol.backbone.name)
    for link in filter(is_stored, links):
        run = _maker(ws, link)
        if run is None:
            ws.progress.note(f"what {link} was trained on is not known: check it for test images")
        else:
            refuse_training_images(ws, run, target)


def refuse_training_images(ws: Workspace, run: StoredRun, test: ImageStore) -> None:
    """Refuse a test set that shares pictures with what the network of a run was trained on.

    That is the whole data set of a fold's arm, both halves, and those that its source was trained
    on by name. A training store that is at hand is searched for similar pictures too, one that is
    not for the same files and pixels, which its run lists.

    Raises
    ------
    UserError
        It shares one, or the run of the data set is gone.
    """
    at_hand = dict(_stores(ws))
    for data in training_data(ws, run):
        name, store = data.tags["dataset"], at_hand.get(data.tags[Tag.DATA_DIGEST])
        if store is not None:
            refuse(find_overlap(open_store(store), test), name, test)
        else:
            index = pd.read_csv(
                ws.tracker.artifact(data.id, "index.csv"), dtype=str, keep_default_na=False
            )
            refuse(find_copies(index, test.index), name, test)


def training_data(ws: Workspace, run: StoredRun) -> list[StoredRun]:
    """Return the runs of the data sets that the network of a run was trained on, its own first.

    Raises
    ------
    UserError
        The run of its own data set is gone.
    """
    tags, where = run.tags, run.experiment_id  # a model may be used in another experiment
    kind: dict[str, str] = {Tag.KIND: Kind.DATASET.value, Tag.STATE: COMPLETE}
    runs = []
    if Tag.DATA_DIGEST in tags:
        runs = [*ws.tracker.search({**kind, Tag.DATA_DIGEST: tags[Tag.DATA_DIGEST]}, where)][:1]
        if not runs:
            raise UserError(
                f"the run that describes the data set of run {run.id} is gone: the images that its "
                "network was trained on cannot be told from new ones",
                next_step="restore it, or run preprocess for that data set again",
            )
    links = [link for link in tags.get("source", "").split("+") if link in ADAPTERS]
    return runs + [
        data for link in links for data in ws.tracker.search({**kind, "dataset": link}, where)
    ]


def _maker(ws: Workspace, uri: str) -> StoredRun | None:
    """Return the run of this platform that made a stored network; None where there is none."""
    try:
        run = ws.tracker.run_of_model(uri)
    except UserError:  # of another origin; whether it can be read at all, its reader tells
        return None
    return run if Tag.KIND in run.tags else None


def _stores(ws: Workspace) -> Iterator[tuple[str, Path]]:
    """Yield the digest and folder of each image store in the cache."""
    for manifest in (ws.cache / "stores").glob(f"*/{MANIFEST}"):
        yield json.loads(manifest.read_text(encoding="utf-8"))["digest"], manifest.parent
