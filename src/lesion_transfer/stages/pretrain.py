"""Pretrain: the network of a source chain, each link trained from the one before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from keras.config import backend

from lesion_transfer.data.designs import graded, labels_for
from lesion_transfer.data.splits import holdout
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.metrics import fold_metrics, quadratic_kappa
from lesion_transfer.models.backbones import (
    Backbone,
    is_file,
    load_network,
    resolve_backbone,
    transfer_weights,
)
from lesion_transfer.models.files import file_digest
from lesion_transfer.protocols import Protocol, Training, starting_from
from lesion_transfer.reporting.figures import curves_figure
from lesion_transfer.stages.links import link_data
from lesion_transfer.stages.model_files import model_file
from lesion_transfer.stages.preprocess import PreparedData, prepared
from lesion_transfer.stages.requests import NetworkRequest, PretrainRequest
from lesion_transfer.stages.seen import Seen, seen_by_source
from lesion_transfer.stages.workspace import Workspace, workspace
from lesion_transfer.study import SCHEMA_VERSION, Design, Source, digest, is_stored
from lesion_transfer.tracking import Kind, Tag, Unit, flat
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.checkpoint import Checkpoint
from lesion_transfer.training.loop import Trainer
from lesion_transfer.training.predict import predict

NETWORK_FILE = "network.keras"
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class SourceNetwork:
    """A network to start from.

    Attributes
    ----------
    key
        Digest of all that decides its weights.
    build
        Makes the network: RGB 0–255 → features.
    run_id
        The run that holds it; None for random weights, which the seed gives again.
    stand_in
        Says so where a link is not what its name promises; else empty.
    seen
        What it has been trained on, in all its links.
    """

    key: str
    build: Callable[[], Any]
    run_id: str | None
    stand_in: str = ""
    seen: Seen = field(default_factory=Seen)

    @property
    def random(self) -> bool:
        """Whether nothing has been trained yet."""
        return self.run_id is None

    @property
    def done(self) -> str:
        """That it is there, and what it is not."""
        note = f" (note: {self.stand_in})" if self.stand_in else ""
        return f"The source network is ready{note}"

    @property
    def where(self) -> str:
        """Its run."""
        return f"{NETWORK_FILE} in MLflow run {self.run_id}"

    @property
    def next_step(self) -> str:
        """Use it."""
        return "mlflow run . -e evaluate, with the same source"


def pretrain(request: PretrainRequest) -> SourceNetwork:
    """Train and log the source network of the request's chain, or find it.

    Raises
    ------
    UserError
        A parameter, data set or model file cannot be used.
    """
    protocol = request.load_protocol()
    source = Source.parse(request.source)
    if not source.chain:
        raise UserError(
            "source=none has nothing to train",
            expected="a chain such as retinopathy, imagenet or imagenet+retinopathy",
        )
    with workspace(request) as ws:
        backbone = find_backbone(ws, protocol)
        return source_network(ws, request, protocol, backbone, source, adopt=True)


def find_backbone(ws: Workspace, protocol: Protocol) -> Backbone:
    """Return the protocol's backbone, fetching its files from S3 or the tracking server."""
    spec = protocol.backbone
    path = model_file(ws, spec.name, "backbone") if is_file(spec.name) else None
    weights = model_file(ws, spec.weights, "weights") if spec.weights else None
    return resolve_backbone(spec, path, weights)


def source_network(
    ws: Workspace,
    request: NetworkRequest,
    protocol: Protocol,
    backbone: Backbone,
    source: Source,
    *,
    adopt: bool = False,
) -> SourceNetwork:
    """Return the network of a chain, training what is missing of it."""
    size, seed = protocol.preparation.size, protocol.seed
    if not source.chain:
        key = digest(SCHEMA_VERSION, "random", backend(), backbone.identity, size, seed)
        return SourceNetwork(
            key, lambda: backbone.build(size, imagenet=False, seed=seed), run_id=None
        )
    link, seen = source.chain[-1], seen_by_source(ws, request, protocol, backbone, source)
    if link == "imagenet" and backbone.has_imagenet:
        identity = (*backbone.identity, *backbone.weights_identity)
        key = digest(SCHEMA_VERSION, "imagenet", identity, size)
        unit = _unit(key, request, protocol, backbone, source, seen)
        run_id = _logged(ws, unit, adopt, lambda: backbone.build(size, imagenet=True, seed=seed))
        return SourceNetwork(key, lambda: _load(ws, run_id), run_id, seen=seen)
    if is_stored(link):
        path = model_file(ws, link, "source")
        content = file_digest(path, "source", "a Keras model")
        key = digest(SCHEMA_VERSION, "stored, scaled alike", content, backbone.identity, size)
        unit = _unit(key, request, protocol, backbone, source, seen)
        run_id = _logged(ws, unit, adopt, lambda: _stored(backbone, size, seed, path))
        return SourceNetwork(key, lambda: _load(ws, run_id), run_id, seen=seen)
    target, root, stand_in = link_data(request, backbone, link)
    parent = source_network(ws, request, protocol, backbone, source.parent)
    stand_in = stand_in or parent.stand_in
    data = prepared(ws, request, protocol, target, root)
    spec = starting_from(protocol.pretrain, random=parent.random)
    key = digest(SCHEMA_VERSION, "trained", backend(), parent.key, data.store.digest, spec, seed)
    unit = _unit(key, request, protocol, backbone, source, seen, stand_in)
    unit = replace(unit, tags={**unit.tags, Tag.DATA_DIGEST: data.store.digest})
    known = ws.tracker.find(key, adopt=adopt) if ws.reusable(key) else None
    run_id = known.id if known else _trained(ws, unit, adopt, parent, data, spec, seed)
    return SourceNetwork(key, lambda: _load(ws, run_id), run_id, stand_in, seen)


def _unit(
    key: str,
    request: NetworkRequest,
    protocol: Protocol,
    backbone: Backbone,
    source: Source,
    seen: Seen,
    stand_in: str = "",
) -> Unit:
    return Unit(
        kind=Kind.SOURCE,
        key=key,
        name=f"source · {source} · {backbone.name}",
        description=f"The network that fine-tuning and feature extraction start from: {source}, "
        f"{backbone.name} at {protocol.preparation.size} px."
        + (f"\n\n**Note:** {stand_in}." if stand_in else ""),
        identity={
            "source": str(source),
            "backbone": backbone.name,
            "protocol": protocol.name,
            "image_size": str(protocol.preparation.size),
            "seed": str(protocol.seed),
        },
        tags=seen.tags | ({Tag.STAND_IN: stand_in} if stand_in else {}),
        params=flat(protocol.pretrain.model_dump(), "pretrain"),
    )


def _logged(ws: Workspace, unit: Unit, adopt: bool, build: Callable[[], Any]) -> str:
    """Log a network that needs no training, once."""
    known = ws.tracker.find(unit.key, adopt=adopt) if ws.reusable(unit.key) else None
    if known is not None:
        return known.id
    ws.progress.now(unit.name)
    with ws.tracker.open(unit, adopt=adopt) as run, ws.scratch() as folder:
        build().save(folder / NETWORK_FILE)
        run.file(folder / NETWORK_FILE)
        run.complete()
    ws.made.add(unit.key)
    return run.id


def _trained(
    ws: Workspace,
    unit: Unit,
    adopt: bool,
    parent: SourceNetwork,
    data: PreparedData,
    spec: Training,
    seed: int,
) -> str:
    """Train a link on its data set's own labels; score it on images held out from it."""
    store = data.store
    rows, labels, classes = labels_for(Design.NATIVE, store.index)
    groups = store.index["group_id"].to_numpy(object)[rows]
    rest, held_out = holdout(labels, groups.tolist(), HELD_OUT_SHARE, seed)
    kept, validation = holdout(labels[rest], groups[rest].tolist(), spec.validation_share, seed)
    kept, validation = rest[kept], rest[validation]

    def examples(chosen: np.ndarray) -> Examples:
        return Examples(store.images, rows[chosen], labels[chosen])

    resumable = ws.checkpoint(unit.key).exists()
    opened = ws.tracker.open(unit, adopt=adopt, resumable=resumable)
    with opened as run, ws.scratch() as folder:

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            run.metrics(metrics, step=epoch)
            ws.progress.now(f"{unit.name} · epoch {epoch}/{spec.epochs}")

        trainer = Trainer(parent.build(), len(classes), spec)
        checkpoint = Checkpoint(ws.checkpoint(unit.key), before_saving=run.flush)
        fit = trainer.fit(
            trainer.network.get_weights(),
            examples(kept),
            examples(validation),
            seed,
            on_epoch,
            checkpoint,
        )
        scores = predict(trainer.model, store.images, rows[held_out])
        truth = labels[held_out]
        metrics = fold_metrics(truth, scores, scores, classes)
        if graded(classes):
            metrics["kappa"] = quadratic_kappa(truth, scores.argmax(axis=1), len(classes))
        run.metrics({f"held_out_{name}": value for name, value in metrics.items()})
        run.metrics({"best_epoch": fit.best_epoch})
        run.figure(curves_figure(fit.history, fit.best_epoch, unit.name), "curves.png")
        trainer.network.save(folder / NETWORK_FILE)
        run.file(folder / NETWORK_FILE)
        run.complete()
        checkpoint.remove()
    ws.made.add(unit.key)
    return run.id


def _stored(backbone: Backbone, size: int, seed: int, path: Path) -> Any:
    """Give the backbone the weights of a stored network; both must have the same layers."""
    network = backbone.build(size, imagenet=False, seed=seed)
    transfer_weights(load_network(path), network)
    return network


def _load(ws: Workspace, run_id: str) -> Any:
    return load_network(ws.tracker.artifact(run_id, NETWORK_FILE))
