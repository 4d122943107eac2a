"""What a network has been trained on, itself and all that it started from."""

from __future__ import annotations

from typing import Self

from lesion_transfer.data.adapters import ADAPTERS
from lesion_transfer.data.web import shown
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import Backbone, is_architecture, is_file
from lesion_transfer.protocols import Protocol
from lesion_transfer.stages.links import source_data
from lesion_transfer.stages.preprocess import prepared
from lesion_transfer.stages.requests import NetworkRequest
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Frozen, Source, is_stored
from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag


class Seen(Frozen):
    """What a network has seen in training.

    It goes from network to network, so that no guard has to follow where each came from.

    Attributes
    ----------
    data
        Digests of the data sets.
    unknown
        Names of those networks among its origins of which nobody knows what they were trained on.
    """

    data: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __or__(self, other: Seen) -> Self:
        """Return what was seen by either."""
        return type(self)(
            data=tuple(dict.fromkeys(self.data + other.data)),
            unknown=tuple(dict.fromkeys(self.unknown + other.unknown)),
        )

    @property
    def tags(self) -> dict[str, str]:
        """The tag of the network's run."""
        return {Tag.SEEN: self.model_dump_json()}


def seen_by_source(
    ws: Workspace, request: NetworkRequest, protocol: Protocol, backbone: Backbone, source: Source
) -> Seen:
    """Return what the links of a chain are trained on, before any is trained.

    ``imagenet`` means the weights that the backbone's file holds, whatever they are of.

    Raises
    ------
    UserError
        A link or its data set cannot be used.
    """
    seen = Seen()
    for link in source.chain:
        name = protocol.backbone.name if link == "imagenet" else link
        if is_stored(name):
            seen |= _seen_by_stored(ws, name)
        elif link == "imagenet" and is_file(name):
            seen |= Seen(unknown=(shown(name),))
    for target, root in source_data(request, backbone, source):
        seen |= Seen(data=(prepared(ws, request, protocol, target, root).store.digest,))
    return seen


def seen_by_run(ws: Workspace, run: StoredRun) -> Seen:
    """Return what the network of a run was trained on.

    Runs of earlier versions do not say it all: of theirs, it is what their source's names tell.
    """
    if Tag.SEEN in run.tags:
        return Seen.model_validate_json(run.tags[Tag.SEEN])
    links = Source.parse(run.tags.get("source", "none")).chain
    seen = Seen()
    if Tag.DATA_DIGEST in run.tags:
        seen = Seen(data=(run.tags[Tag.DATA_DIGEST],))
        links = links[:-1] if run.tags[Tag.KIND] == Kind.SOURCE else links
    for link in links:
        unknown = Seen(unknown=(f"{link} of run {run.id}",))
        if is_stored(link) and "@" not in link:  # an alias may have meant another model then
            seen |= _seen_by_stored(ws, link)
        elif link in ADAPTERS:
            wanted = {Tag.KIND: Kind.DATASET.value, Tag.STATE: COMPLETE, "dataset": link}
            found = ws.tracker.search(wanted, run.experiment_id)
            data = tuple(data.tags[Tag.DATA_DIGEST] for data in found)
            seen |= Seen(data=data) if data else unknown
        elif link != "imagenet" or not is_architecture(run.tags.get("backbone", "")):
            seen |= unknown
    return seen


def _seen_by_stored(ws: Workspace, uri: str) -> Seen:
    """Return what a stored network was trained on, if a run of this platform made it."""
    try:
        run = ws.tracker.run_of_model(uri)
    except UserError:  # of another origin; whether it can be read at all, its reader tells
        return Seen(unknown=(uri,))
    return seen_by_run(ws, run) if Tag.KIND in run.tags else Seen(unknown=(uri,))
