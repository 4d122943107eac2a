"""VGG-M's random weights; those of the released file are in test_released.py."""

import numpy as np
import pytest

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
