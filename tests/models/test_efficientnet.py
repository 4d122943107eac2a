"""EfficientNetB0–B7: one function of the picture, whichever way the weights came."""

from pathlib import Path

import keras
import numpy as np
import pytest
from networks import run
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import Application, load_network, transfer_weights

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    """Random weights, and a normalisation that does nothing."""
    keras.utils.set_random_seed(3)
    network = keras.applications.EfficientNetB0(
        weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3)
    )
    for layer in network.layers:  # else it passes on next to nothing
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(IMAGES, training=True)
    return network


@pytest.fixture(scope="module")
def released(plain: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Keras distributes them: deviations in the place of the variances."""
    path = tmp_path_factory.mktemp("released") / "efficientnetb0.weights.h5"
    weights = plain.get_weights()
    layer = next(x for x in plain.layers if isinstance(x, keras.layers.Normalization))
    _, _, *count = layer.get_weights()
    layer.set_weights([MEAN, DEVIATION, *count])
    plain.save_weights(path)
    plain.set_weights(weights)
    layer.finalize_state()
    return path


@pytest.fixture(scope="module")
def expected(plain: keras.Model) -> np.ndarray:
    """The published normalisation, applied by hand."""
    return run(plain, (255 * (IMAGES / 255 - MEAN) / DEVIATION).astype(np.float32))


def assert_same(features: np.ndarray, expected: np.ndarray) -> None:
    assert np.ptp(expected) > 0.1
    assert_allclose(features, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_weights_of_a_file(released: Path, expected: np.ndarray):
    network = Application("EfficientNetB0", weights=released).build(32, imagenet=True, seed=0)
    assert_same(run(network, IMAGES), expected)


def test_weights_that_keras_downloads(
    released: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(released))
    network = Application("EfficientNetB0").build(32, imagenet=True, seed=0)
    assert_same(run(network, IMAGES), expected)


@pytest.mark.slow
def test_weights_of_a_stored_network(released: Path, expected: np.ndarray, tmp_path: Path):
    backbone = Application("EfficientNetB0", weights=released)
    backbone.build(32, imagenet=True, seed=0).save(tmp_path / "stored.keras")
    target = backbone.build(32, imagenet=False, seed=1)
    transfer_weights(load_network(tmp_path / "stored.keras"), target)
    assert_same(run(target, IMAGES), expected)


def test_weights_of_ones_own_training_are_taken_as_they_are(plain: keras.Model, tmp_path: Path):
    path = tmp_path / "own.weights.h5"
    plain.save_weights(path)
    network = Application("EfficientNetB0", weights=path).build(32, imagenet=True, seed=0)
    assert_same(run(network, IMAGES), run(plain, IMAGES))


def test_kerass_own_network_scales_by_a_layer_more_and_is_refused(
    released: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(released))
    theirs = keras.applications.EfficientNetB0(include_top=False, pooling="avg")
    target = Application("EfficientNetB0").build(32, imagenet=False, seed=0)
    with pytest.raises(UserError, match=r"x·0\.0039216 \+0, x·2\.0897 \+0 \| .*, the network by"):
        transfer_weights(theirs, target)
