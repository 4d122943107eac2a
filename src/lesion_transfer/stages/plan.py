"""From a request to an arm made concrete, and what is refused on the way."""

from __future__ import annotations

from lesion_transfer.data.designs import labels_for
from lesion_transfer.data.published_folds import PublishedFolds, folds_file, read_published_folds
from lesion_transfer.errors import UserError
from lesion_transfer.models.openvino import check_openvino
from lesion_transfer.protocols import Protocol
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.leaks import refuse_seen_images
from lesion_transfer.stages.links import source_data
from lesion_transfer.stages.preprocess import prepared
from lesion_transfer.stages.pretrain import find_backbone, source_network
from lesion_transfer.stages.requests import ArmRequest
from lesion_transfer.stages.seen import seen_by_source
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Arm, Source, parse_folds


def plan(ws: Workspace, request: ArmRequest) -> PlannedArm:
    """Resolve a request: build or find its store and source network, and label its images.

    Raises
    ------
    UserError
        A parameter, data set or model file cannot be used, or a source has seen test images.
    """
    protocol = request.load_protocol()
    if protocol.extraction.runtime == "openvino":  # found out before anything is trained
        check_openvino(protocol.extraction.precision)
    head = protocol.svm.after(finetune=request.pair.finetune)
    if head != protocol.svm:
        ws.progress.note("frozen networks have no softmax: they get an SVM")
    protocol = protocol.model_copy(update={"svm": head})
    published, protocol = _published(request, protocol)
    folds = parse_folds(folds_file(request.folds)[1], protocol.repeats)
    backbone = find_backbone(ws, protocol)
    chain = Source.parse(request.source)
    source_data(request, backbone, chain)  # a wrong name is found out before images are read
    data = prepared(ws, request, protocol, request.target, request.data_root)
    rows, labels, classes = labels_for(request.design, data.store.index)
    if published is not None:
        index = data.store.index
        images, groups = index["image_id"].tolist(), index["group_id"].tolist()
        for note in published.notes(images, groups):
            ws.progress.note(note)
        listed = published.listed(images)[rows]
        rows, labels = rows[listed], labels[listed]
    arm = Arm(
        dataset=data.store.dataset,
        design=request.design,
        model=request.pair,
        backbone=backbone.name,
        protocol=protocol.name,
        image_size=protocol.preparation.size,
        seed=protocol.seed,
    )
    seen = seen_by_source(ws, request, protocol, backbone, chain)
    refuse_seen_images(ws, seen, data.store)  # in some fold they are test images
    source = source_network(ws, request, protocol, backbone, chain)
    looked = request.images_looked_at
    return PlannedArm(
        arm, protocol, backbone, source, data.store, rows, labels, classes, folds, published, looked
    )


def _published(request: ArmRequest, protocol: Protocol) -> tuple[PublishedFolds | None, Protocol]:
    """Return the request's file of folds, if any, and the protocol with that file's repeats.

    Raises
    ------
    UserError
        The file cannot be used, or there is none to reproduce the original's loop with.
    """
    file, _ = folds_file(request.folds)
    if file is None:
        if request.reproduce_original_loop:
            raise UserError(
                "reproduce_original_loop=true needs the folds published with the paper",
                expected="folds=<file.yml>, for example folds=protocol1.yml",
            )
        return None, protocol
    published = read_published_folds(file, reproduce_original_loop=request.reproduce_original_loop)
    return published, protocol.model_copy(update={"repeats": len(published.repeats)})
