"""Preprocess: a data set becomes an image store, and a ``dataset`` run says what is in it."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.store import ImageStore, build_store
from lesion_transfer.protocols import Preparation
from lesion_transfer.reporting.figures import contact_sheet
from lesion_transfer.stages.requests import DataRequest
from lesion_transfer.stages.workspace import Workspace, workspace
from lesion_transfer.study import SCHEMA_VERSION, digest
from lesion_transfer.tracking import Kind, Tag, Unit

SHEET_IMAGES = 48
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
        return f"{store.dataset}: {len(store.index)} images of {store.size} px ({counts}){rejected}"

    @property
    def where(self) -> str:
        """The store, and the run with its contact sheet and rejected files."""
        return f"{self.store.path}; contact sheet and rejected files in MLflow run {self.run_id}"

    @property
    def next_step(self) -> str:
        """Evaluate a model on it."""
        return "mlflow run . -e evaluate, with the same target and data_root"


def preprocess(request: DataRequest) -> PreparedData:
    """Build the image store of the request's target, or find it.

    Raises
    ------
    UserError
        The data set cannot be read, or too many of its images.
    """
    protocol = request.load_protocol()
    with workspace(request) as ws:
        return prepared(
            ws,
            request.target,
            request.data_root,
            protocol.preparation,
            request.max_rejected,
            adopt=True,
        )


def prepared(
    ws: Workspace,
    target: str,
    root: str | None,
    preparation: Preparation,
    max_rejected: float,
    *,
    adopt: bool = False,
) -> PreparedData:
    """Return the store of a data set, building and recording it where that is missing."""
    dataset = open_dataset(target, root, DATA_SEED)
    ws.progress.now(f"images of {target}")
    store = build_store(
        dataset, preparation, ws.cache / "stores", max_rejected, progress=ws.progress.track
    )
    name = store.dataset
    key = digest(SCHEMA_VERSION, "dataset", name, store.digest)
    known = ws.tracker.find(key, adopt=adopt) if ws.reusable(key) else None
    if known is not None:
        return PreparedData(store, known.id)
    with ws.tracker.open(_unit(key, name, store), adopt=adopt) as run:
        run.metrics({f"images_{name}": count for name, count in store.counts.items()})
        run.metrics({"images": len(store.index), "rejected": len(store.rejected)})
        run.table(store.index.drop(columns="path"), "index.csv")
        run.table(store.rejected, "rejected.csv")
        run.file(store.path / "manifest.json")
        run.figure(_sheet(name, store), "contact_sheet.png")
        run.dataset(
            store.index[["image_id", "group_id", "diagnosis"]],
            name,
            store.digest[:16],
            source=root or name,
        )
        run.complete()
        ws.made.add(key)
        return PreparedData(store, run.id)


def _unit(key: str, target: str, store: ImageStore) -> Unit:
    groups = store.index["group_id"].nunique()
    counts = "\n".join(f"| {name} | {count} |" for name, count in store.counts.items())
    return Unit(
        kind=Kind.DATASET,
        key=key,
        name=f"data · {target} · {store.size} px",
        description=f"{len(store.index)} images of {groups} lesions, patients or eyes; "
        f"{len(store.rejected)} rejected.\n\n| diagnosis | images |\n|---|---|\n{counts}",
        identity={
            "dataset": target,
            "image_size": str(store.size),
        },
        tags={Tag.DATA_DIGEST: store.digest},
    )


def _sheet(target: str, store: ImageStore) -> Figure:
    """Show some images of every diagnosis, the same number of each where there are enough."""
    each = max(1, SHEET_IMAGES // len(store.counts))
    chosen = store.index.groupby("diagnosis", sort=True).head(each).index[:SHEET_IMAGES]
    chosen = store.index.loc[chosen].sort_values("diagnosis", kind="stable").index
    captions = [str(store.index["diagnosis"][row]) for row in chosen]
    return contact_sheet(store.images[chosen.to_numpy()], captions, f"{target}, {store.size} px")
