"""The links of a source chain: which data set each is trained on."""

from __future__ import annotations

from lesion_transfer.data.adapters import ADAPTERS
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import Backbone
from lesion_transfer.stages.requests import SYNTHETIC, NetworkRequest
from lesion_transfer.study import Source, is_stored

STAND_IN = (
    "the demo's “imagenet” is a stand-in: a network trained on drawn shapes and textures, "
    "not on ImageNet"
)


def source_data(
    request: NetworkRequest, backbone: Backbone, source: Source
) -> list[tuple[str, str | None]]:
    """Return the data sets, with their folders, that the links of a chain are trained on.

    Raises
    ------
    UserError
        A link is neither a source nor a data set, or the backbone comes with no ImageNet weights.
    """
    needed = []
    for link in source.chain:
        if not is_stored(link) and not (link == "imagenet" and backbone.has_imagenet):
            target, root, _ = link_data(request, backbone, link)
            needed.append((target, root))
    return needed


def link_data(
    request: NetworkRequest, backbone: Backbone, link: str
) -> tuple[str, str | None, str]:
    """Return the data set a link trains on, its folder, and what to say if it is a stand-in."""
    demo = request.target == SYNTHETIC
    if link == "imagenet":
        if not demo:
            raise backbone.no_imagenet()
        return "synthetic_generic", None, STAND_IN
    if link == "retinopathy":
        return (
            request.source_data or ("synthetic_retinas" if demo else "eyepacs"),
            request.source_root,
            "",
        )
    if link not in ADAPTERS:
        raise UserError(
            f"source: there is none called {link!r}",
            expected="none, imagenet, retinopathy, models:/<name>@<alias>, runs:/<run id>/<file>, "
            "or a data set: " + ", ".join(sorted(ADAPTERS)),
        )
    return link, request.source_root, ""
