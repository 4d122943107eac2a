import numpy as np

from lesion_transfer.models.occlusion import _squares, occlusion_maps


def corner(images: np.ndarray) -> np.ndarray:
    """Class 1 where the top left quarter is bright; the rest of the picture does not matter."""
    assert images.dtype == np.uint8
    side = images.shape[1]
    bright = images[:, : side // 2, : side // 2].mean(axis=(1, 2, 3)) / 25.5 - 5
    positive = 1 / (1 + np.exp(-bright))
    return np.stack([1 - positive, positive], axis=1)


def test_the_map_is_high_where_the_decision_comes_from_and_zero_elsewhere():
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[0, :8, :8] = 200
    (heat,) = occlusion_maps(corner, image, np.array([1]))
    assert heat.shape == (16, 16)
    assert heat[:6, :6].min() > 0
    assert np.abs(heat[12:, 12:]).max() < 1e-6
    (against,) = occlusion_maps(corner, image, np.array([0]))
    np.testing.assert_allclose(against, -heat, atol=1e-4)


def test_squares_cover_every_pixel_of_any_side():
    for side in (7, 16, 33, 128):
        seen = np.zeros((side, side), bool)
        for top, left, bottom, right in _squares(side):
            assert 0 <= top < bottom <= side
            assert 0 <= left < right <= side
            seen[top:bottom, left:right] = True
        assert seen.all()
