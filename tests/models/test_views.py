from itertools import pairwise

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.models.backbones import SmallVGG
from lesion_transfer.models.views import viewed

SIDE = 12
IMAGES = np.random.default_rng(0).uniform(0, 255, (5, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return SmallVGG().build(SIDE, imagenet=False, seed=0)


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images))


def test_one_view_is_the_network_itself(network: keras.Model):
    assert viewed(network, 1) is network


@pytest.mark.parametrize("views", [2, 4, 8])
def test_features_are_the_mean_over_the_views(network: keras.Model, views: int):
    symmetries = [
        IMAGES,
        IMAGES[:, :, ::-1],
        IMAGES[:, ::-1],
        np.rot90(IMAGES, 2, axes=(1, 2)),
        IMAGES.swapaxes(1, 2),
        np.rot90(IMAGES, 1, axes=(1, 2)),
        np.rot90(IMAGES, 3, axes=(1, 2)),
        np.rot90(IMAGES, 2, axes=(1, 2)).swapaxes(1, 2),
    ]
    expected = np.mean([features(network, view) for view in symmetries[:views]], axis=0)
    assert_allclose(features(viewed(network, views), IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_eight_views_do_not_care_how_the_picture_lies(network: keras.Model):
    model = viewed(network, 8)
    upright = features(model, IMAGES)
    assert np.abs(features(network, IMAGES) - features(network, IMAGES[:, ::-1])).max() > 1e-3
    for lying in (np.rot90(IMAGES, 1, axes=(1, 2)), IMAGES[:, :, ::-1], IMAGES.swapaxes(1, 2)):
        assert_allclose(features(model, np.ascontiguousarray(lying)), upright, atol=1e-5)


def test_the_eight_views_are_different_ones():
    image = keras.Input((SIDE, SIDE, 3))
    each = keras.Model(image, keras.layers.Flatten()(image))
    several = [features(viewed(each, views), IMAGES) * views for views in (1, 2, 4, 8)]
    for fewer, more in pairwise(several):
        assert np.abs(more - 2 * fewer).max() > 1
