"""Preprocess: a data set becomes an image store, and a ``dataset`` run says what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store, store_name
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.fetch import is_remote
from lesion_transfer.data.remote import find_store, push_store
from lesion_transfer.data.store import ImageStore, open_store
from lesion_transfer.data.summary import BALANCE_FILE, balance_of_designs, pixel_statistics
from lesion_transfer.data.web import shown
from lesion_transfer.protocols import Preparation, Protocol
from lesion_transfer.reporting.figures import contact_sheet
from lesion_transfer.stages.requests import DataRequest
from lesion_transfer.stages.workspace import Workspace, workspace
from lesion_transfer.study import SCHEMA_VERSION, digest
from lesion_transfer.tracking import Kind, Run, Tag, Unit

SHEET_IMAGES = 48
CLASS_IMAGES = 28
SHEET_CLASSES = 8
"""With more classes than this, they share one contact sheet."""
SHEET_PAIRS = 16
DATA_SEED = 0
"""Drawn data sets are data sets: an experiment's seed must not change them."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """An image store and the run that describes it."""

    store: ImageStore
    run_id: str

    @property
    def done(self) -> str:
        """What the store holds."""
        store = self.store
        counts = ", ".join(f"{count} {name}" for name, count in store.counts.items())
        rejected = f"; {len(store.rejected)} rejected" if len(store.rejected) else ""
        twice = f"; {len(store.duplicates)} there twice" if len(store.duplicates) else ""
        return (
            f"{store.dataset}: {len(store.index)} images of {store.size} px ({counts})"
            f"{rejected}{twice}"
        )

    @property
    def where(self) -> str:
        """The store, and the run that shows what is in it."""
        return f"{self.store.path}; contact sheets and reports in MLflow run {self.run_id}"

    @property
    def next_step(self) -> str:
        """Evaluate a model on it."""
        return "mlflow run . -e evaluate, with the same target and data_root"


def preprocess(request: DataRequest) -> PreparedData:
    """Build the image store of the request's target, or find it.

    Raises
    ------
    UserError
        The data set cannot be read, or too many of its images; or a store that is to be verified
        is damaged.
    """
    protocol = request.load_protocol()
    with workspace(request) as ws:
        return prepared(ws, request, protocol, request.target, request.data_root, adopt=True)


def prepared(
    ws: Workspace,
    request: DataRequest,
    protocol: Protocol,
    target: str,
    root: str | None,
    *,
    adopt: bool = False,
) -> PreparedData:
    """Return the store of a data set, building and recording it where that is missing.

    A command, whose requests have the same parameters, asks for each of its data sets many times,
    and looks at the disk once.
    """
    asked = digest(target, root, protocol.preparation)

    def prepare() -> PreparedData:
        return _prepared(ws, request, protocol, target, root, adopt)

    known: PreparedData = ws.data.get(asked, prepare)
    return known


def _prepared(
    ws: Workspace,
    request: DataRequest,
    protocol: Protocol,
    target: str,
    root: str | None,
    adopt: bool,
) -> PreparedData:
    if root and is_remote(root):
        ws.progress.now(f"files of {target}, MB")
    dataset = open_dataset(
        target, root, DATA_SEED, downloads=ws.cache / "downloads", progress=ws.progress.track
    )
    ws.progress.now(f"images of {target}")
    store = _store(ws, request, dataset, protocol.preparation)
    name = store.dataset
    key = digest(SCHEMA_VERSION, "dataset", name, store.digest)
    known = ws.tracker.find(key, adopt=adopt) if ws.reusable(key) else None
    if known is not None:
        return PreparedData(store, known.id)
    with ws.tracker.open(_unit(key, name, store), adopt=adopt) as run:
        _record(run, store, protocol)
        run.dataset(
            store.index[["image_id", "group_id", "diagnosis"]],
            name,
            store.digest[:16],
            source=shown(root or name),
        )
        run.complete()
        ws.made.add(key)
        return PreparedData(store, run.id)


def _store(
    ws: Workspace, request: DataRequest, dataset: Dataset, preparation: Preparation
) -> ImageStore:
    """Find the store here or at ``store_uri``, or build it; push it where that lacks it."""
    root, uri = ws.cache / "stores", request.store_uri
    if uri:
        find_store(uri, store_name(dataset, preparation), root)
    store = build_store(
        dataset, preparation, root, request.max_rejected, progress=ws.progress.track
    )
    if request.verify:
        store = open_store(store.path, verify=True)
    if uri:
        push_store(store, uri)
    return store


# --- the run -------------------------------------------------------------------------------------


def _record(run: Run, store: ImageStore, protocol: Protocol) -> None:
    """Log what is in a store: counts, pictures, and what is wrong with them."""
    name, duplicates = store.dataset, store.duplicates
    pixels = pixel_statistics(store)
    run.metrics({f"images_{diagnosis}": count for diagnosis, count in store.counts.items()})
    run.metrics(
        {
            "images": len(store.index),
            "groups": store.index["group_id"].nunique(),
            "rejected": len(store.rejected),
            "duplicates": len(duplicates),
            "duplicates_between_groups": int((~duplicates["same_group"]).sum()),
            "duplicates_of_other_diagnosis": int((~duplicates["same_diagnosis"]).sum()),
        }
    )
    for number, channel in enumerate(("red", "green", "blue")):
        run.metrics({f"mean_{channel}": pixels.mean[number], f"sd_{channel}": pixels.sd[number]})
    run.table(store.index.drop(columns="path"), "index.csv")
    run.table(store.rejected, "rejected.csv")
    run.table(duplicates, "duplicates.csv")
    folds = balance_of_designs(store.index, protocol.seed, protocol.repeats)
    run.table(folds, BALANCE_FILE)
    run.file(store.path / "manifest.json")
    mean = np.rint(pixels.mean_image).astype(np.uint8)[None]
    run.figure(contact_sheet(mean, title=f"{name}, mean"), "mean_image.png")
    run.figure(_overview(store), "contact_sheet.png")
    if len(store.counts) <= SHEET_CLASSES:
        for diagnosis in store.counts:
            run.figure(_class_sheet(store, diagnosis), f"contact_sheets/{diagnosis}.png")
    if len(duplicates):
        run.figure(_duplicates_sheet(store), "duplicates.png")


def _unit(key: str, target: str, store: ImageStore) -> Unit:
    groups = store.index["group_id"].nunique()
    counts = "\n".join(f"| {name} | {count} |" for name, count in store.counts.items())
    return Unit(
        kind=Kind.DATASET,
        key=key,
        name=f"data · {target} · {store.size} px",
        description=f"{len(store.index)} images of {groups} lesions, patients or eyes; "
        f"{len(store.rejected)} rejected, {len(store.duplicates)} there twice."
        f"\n\n| diagnosis | images |\n|---|---|\n{counts}",
        identity={
            "dataset": target,
            "image_size": str(store.size),
        },
        tags={Tag.DATA_DIGEST: store.digest},
    )


def _overview(store: ImageStore) -> Figure:
    """Show some images of every diagnosis, the same number of each where there are enough."""
    each = max(1, SHEET_IMAGES // len(store.counts))
    chosen = store.index.groupby("diagnosis", sort=True).head(each).index[:SHEET_IMAGES]
    chosen = store.index.loc[chosen].sort_values("diagnosis", kind="stable").index
    captions = [str(store.index["diagnosis"][row]) for row in chosen]
    return _sheet(store, chosen.tolist(), captions, f"{store.dataset}, {store.size} px")


def _class_sheet(store: ImageStore, diagnosis: str) -> Figure:
    members = np.flatnonzero(store.index["diagnosis"] == diagnosis)
    count = min(len(members), CLASS_IMAGES)
    rows = members[np.linspace(0, len(members) - 1, count).astype(np.int64)].tolist()
    captions = [str(store.index["image_id"][row]) for row in rows]
    title = f"{store.dataset}, {diagnosis}: {store.counts[diagnosis]} images"
    return _sheet(store, rows, captions, title)


def _duplicates_sheet(store: ImageStore) -> Figure:
    """Show pairs side by side, the least alike first: those are the ones to look at."""
    pairs = store.duplicates.sort_values("correlation", kind="stable").head(SHEET_PAIRS)
    row_of = dict(zip(store.index["image_id"], range(len(store.index)), strict=True))
    ids = [image for pair in pairs[["image_id", "other_id"]].to_numpy() for image in pair]
    captions = [
        f"{number} {image}" for number, image in zip(np.arange(len(ids)) // 2 + 1, ids, strict=True)
    ]
    title = f"{store.dataset}: {len(pairs)} of {len(store.duplicates)} pair(s) of duplicates"
    return _sheet(store, [row_of[image] for image in ids], captions, title, together=2)


def _sheet(
    store: ImageStore, rows: Sequence[int], captions: Sequence[str], title: str, together: int = 1
) -> Figure:
    return contact_sheet(store.images[np.asarray(rows, np.int64)], captions, title, together)
