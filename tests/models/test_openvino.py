import sys

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import SmallVGG
from lesion_transfer.models.openvino import OpenVinoNetwork
from lesion_transfer.models.views import viewed
from lesion_transfer.training.predict import predict

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
ROWS = np.arange(10)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return SmallVGG().build(16, imagenet=False, seed=0)


@pytest.mark.parametrize("views", [1, 8])
def test_in_float32_it_gives_what_keras_gives(network: keras.Model, views: int):
    whole = viewed(network, views)
    found = predict(OpenVinoNetwork(whole, "float32", 4), PICTURES, ROWS, 4)
    assert found.dtype == np.float32
    assert_allclose(found, predict(whole, PICTURES, ROWS, 4), rtol=1e-4, atol=1e-4)


def test_nothing_is_reported_to_its_makers(network: keras.Model):
    OpenVinoNetwork(network, "float32", 4)
    assert sys.modules["openvino_telemetry"] is None


def test_in_bfloat16_it_comes_near_or_says_that_the_processor_cannot(network: keras.Model):
    import openvino  # after the first use: by then its reports to its makers are off

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UserError, match="AVX-512"):
            OpenVinoNetwork(network, "bfloat16", 4)
        return
    fast = OpenVinoNetwork(network, "bfloat16", 4)
    exact = predict(network, PICTURES, ROWS, 4)
    found = predict(fast, PICTURES, ROWS, 4)
    assert_allclose(found, exact, atol=0.02 * np.abs(exact).max())
    assert not np.array_equal(found, exact)


def test_an_answer_stays_when_the_next_one_comes(network: keras.Model):
    compiled = OpenVinoNetwork(network, "float32", 5)
    first = compiled.predict_on_batch(PICTURES[:5])
    kept = first.copy()
    compiled.predict_on_batch(PICTURES[5:])
    assert np.array_equal(first, kept)


def test_without_the_package_it_says_how_to_get_it(
    network: keras.Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install .*openvino"):
        OpenVinoNetwork(network, "float32", 4)


def test_on_jax_it_says_which_backends_it_knows(
    network: keras.Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=tensorflow or torch"):
        OpenVinoNetwork(network, "float32", 4)
