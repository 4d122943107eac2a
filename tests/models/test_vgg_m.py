"""VGG-M with random weights; those of the released file are in test_released.py."""

import math

import keras
import numpy as np
import pytest
from matlab import vgg_m
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.vgg_m import VGGM


def test_random_weights_have_the_variance_of_the_papers_scripts():
    network = VGGM(units=512).build(224, imagenet=False, seed=0)
    for layer in network.layers:
        if not hasattr(layer, "kernel"):
            continue
        inputs = np.prod(layer.kernel.shape[:-1])
        assert np.std(layer.kernel) == pytest.approx(1 / np.sqrt(inputs), rel=0.03)
        assert np.all(np.asarray(layer.bias) == np.float32(0.05))


def test_pictures_and_seeds_give_different_features_of_moderate_size():
    network = VGGM(units=512).build(224, imagenet=False, seed=0)
    other = VGGM(units=512).build(224, imagenet=False, seed=1)
    coarse = np.random.default_rng(0).uniform(0, 255, (3, 7, 7, 3)).astype(np.float32)
    images = coarse.repeat(32, axis=1).repeat(32, axis=2)
    first, second = (np.asarray(each(images, training=False)) for each in (network, other))
    assert 0.1 < np.sqrt(np.mean(first**2)) < 10
    assert np.linalg.norm(first[0] - first[1]) > 0.01 * np.linalg.norm(first[0])
    assert not np.allclose(first, second)


def test_its_maps_are_the_published_ones():
    network = VGGM(units=8).build(224, imagenet=False, seed=0)
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    assert {name: shapes[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5")} == {
        "conv1": (109, 109, 96),
        "conv2": (26, 26, 256),
        "conv3": (13, 13, 512),
        "conv4": (13, 13, 512),
        "conv5": (13, 13, 512),
    }
    assert (shapes["pool1"], shapes["pool2"], shapes["pool5"]) == (
        (54, 54, 96),
        (13, 13, 256),
        (6, 6, 512),
    )
    assert shapes["flatten"] == (6 * 6 * 512,)


@pytest.mark.slow
def test_it_has_as_many_weights_as_the_released_one():
    network = VGGM().build(224, imagenet=False, seed=0)
    assert network.output_shape == (None, 4096)
    mean = 224 * 224 * 3
    classifier = 4096 * 1000 + 1000
    assert network.count_params() - mean + classifier == 102_908_520
    released = vgg_m(6, 4096)
    counts = [math.prod(array.shape) for layer in released for array in layer.get("weights", [])]
    assert sum(counts[:-2]) == network.count_params() - mean


def test_random_networks_subtract_a_constant_colour():
    network = VGGM("mean").build(75, imagenet=False, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (2, 75, 75, 3)).astype(np.float32)
    expected = (images - [123.68, 116.779, 103.939]).mean(axis=(1, 2))
    features = keras.ops.convert_to_numpy(network(images))
    assert_allclose(features, expected, rtol=1e-3, atol=1e-2)


def test_an_image_too_small_is_refused():
    VGGM(units=4).build(59, imagenet=False, seed=0)
    with pytest.raises(UserError, match="does not take images of 58 px") as raised:
        VGGM(units=4).build(58, imagenet=False, seed=0)
    assert "at least 59" in raised.value.expected
