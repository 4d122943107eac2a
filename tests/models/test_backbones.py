from pathlib import Path

import pytest

from lesion_transfer import protocols
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import SmallVGG, is_file, resolve_backbone


def test_names_become_backbones(file: Path):
    assert isinstance(resolve_backbone(protocols.Backbone(name="small_vgg")), SmallVGG)
    application = resolve_backbone(protocols.Backbone(name="ResNet50", feature_layer="avg_pool"))
    assert (application.name, application.feature_layer) == ("ResNet50", "avg_pool")
    spec = protocols.Backbone(name=str(file), feature_layer="hidden", input_scaling="unit")
    network = resolve_backbone(spec, file)
    assert (network.name, network.feature_layer, network.scaling) == ("my_net", "hidden", "unit")


@pytest.mark.parametrize(
    "given",
    [
        {"name": "ResNet50", "input_scaling": "unit"},
        {"name": "vgg_m", "input_scaling": "none"},
        {"name": "small_vgg", "feature_layer": "conv3"},
    ],
    ids=str,
)
def test_what_a_backbone_does_not_take_is_refused_and_not_ignored(given: dict[str, str]):
    (parameter,) = given.keys() - {"name"}
    with pytest.raises(UserError, match=f"{parameter}={given[parameter]}"):
        resolve_backbone(protocols.Backbone(**given))


@pytest.mark.parametrize("name", ["vgg_f", "resnet50", "__name__", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str):
    with pytest.raises(UserError, match="no such network, and no such file") as raised:
        resolve_backbone(protocols.Backbone(name=name))
    for known in ("small_vgg", "vgg_m", ".keras", "ResNet50", "EfficientNetV2B0"):
        assert known in raised.value.expected


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"gone\.keras: there is no such file"):
        resolve_backbone(protocols.Backbone(name="x/gone.keras"), tmp_path / "gone.keras")


def test_a_name_that_is_a_module_is_no_network():
    with pytest.raises(UserError, match="no such network"):
        resolve_backbone(protocols.Backbone(name="resnet"))


@pytest.mark.parametrize(
    ("name", "answer"),
    [("a/b", True), ("net.keras", True), ("net.h5", True), ("small_vgg", False), ("VGG16", False)],
)
def test_what_means_a_file(name: str, answer: bool):
    assert is_file(name) is answer
