import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import run, same_weights
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import Application, SmallVGG


def test_an_application_with_random_weights_gives_pooled_features():
    network = Application("MobileNetV3Small", None).build(32, imagenet=False, seed=0)
    assert network.output_shape == (None, 576)
    assert np.isfinite(run(network, np.full((1, 32, 32, 3), 200, np.float32))).all()


def test_an_application_that_does_not_take_the_size_is_refused():
    with pytest.raises(UserError, match="InceptionV3 could not be made at 32 px") as raised:
        Application("InceptionV3", None).build(32, imagenet=False, seed=0)
    assert "image_size=" in raised.value.next_step


FAMILIES = {
    "ConvNeXtTiny": None,
    "EfficientNetV2B0": None,
    "ResNet50V2": None,
    "MobileNetV3Small": None,
    "DenseNet121": None,
    "VGG16": "fc2",
    "VGG19": "fc2",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), FAMILIES.items())
def test_a_familys_features_are_those_of_its_own_preprocessing(name: str, layer: str | None):
    """Keras' network on Keras' preprocess_input, against ours on raw pixels."""
    images = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    ours = Application(name, layer).build(32, imagenet=False, seed=0)
    options = {"include_top": True} if layer else {"include_top": False, "pooling": "avg"}
    theirs = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), **options)
    if layer:
        theirs = keras.Model(theirs.input, theirs.get_layer(layer).output)
    theirs.set_weights(ours.get_weights())
    module = sys.modules[getattr(keras.applications, name).__module__]
    expected = run(theirs, module.preprocess_input(images.copy()))
    assert expected.shape == (2, ours.output_shape[1])
    assert np.abs(expected).max() > 0
    assert_allclose(run(ours, images), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    if layer:
        assert ours.output_shape == (None, 4096)


def test_weights_of_a_file_are_taken_and_decide_the_key(tmp_path: Path):
    keras.utils.set_random_seed(5)
    given = Application("MobileNetV3Small").unscaled(32, None)
    path = tmp_path / "small.weights.h5"
    given.save_weights(path)
    backbone = Application("MobileNetV3Small", None, path)
    assert same_weights(backbone.build(32, imagenet=True, seed=0), given)
    assert not same_weights(backbone.build(32, imagenet=False, seed=0), given)
    assert backbone.identity == Application("MobileNetV3Small").identity
    assert backbone.weights_identity != Application("MobileNetV3Small").weights_identity


def test_weights_of_another_network_are_refused(tmp_path: Path):
    path = tmp_path / "other.weights.h5"
    SmallVGG().build(16, imagenet=False, seed=0).save_weights(path)
    with pytest.raises(UserError, match="MobileNetV3Small could not be made at 32 px") as raised:
        Application("MobileNetV3Small", None, path).build(32, imagenet=True, seed=0)
    assert str(path) in raised.value.expected


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and the empty folder that Keras caches weights in."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: refused at once
    return tmp_path


@pytest.mark.timeout(60)
def test_imagenet_without_a_network_says_which_file_to_put_where(offline: Path):
    with pytest.raises(UserError, match="MobileNetV3Small: its ImageNet weights are not") as raised:
        Application("MobileNetV3Small", None).build(32, imagenet=True, seed=0)
    file = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
    assert f"/{file} cannot be reached" in raised.value.problem
    assert raised.value.expected == f"the file {file} in {offline / 'models'}"
    assert "weights=" in raised.value.next_step
    assert "backbone=" in raised.value.next_step


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *FAMILIES,
        "EfficientNetB0",
        "InceptionResNetV2",
        "InceptionV3",
        "MobileNet",
        "MobileNetV2",
        "MobileNetV3Large",
        "NASNetMobile",
        "ResNet50",
        "Xception",
    ],
)
def test_the_file_asked_for_is_the_one_keras_looks_for(
    name: str, offline: Path, monkeypatch: pytest.MonkeyPatch
):
    """What the error calls the file, from its address, is its name in the cache."""
    asked: list[tuple[str, str]] = []

    def get_file(fname: str, origin: str, cache_subdir: str = "", **options: object) -> str:
        assert cache_subdir == "models"
        asked.append((fname, origin))
        raise OSError(f"URL fetch failure on {origin}: None -- refused")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    size = 224 if name.startswith("NASNet") else 96
    with pytest.raises(UserError) as raised:
        Application(name).build(size, imagenet=True, seed=0)
    ((fname, origin),) = asked
    assert raised.value.expected.startswith(f"the file {fname} in ")
    assert f"and {origin} cannot" in raised.value.problem
