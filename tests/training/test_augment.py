import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.protocols import Augmentation
from lesion_transfer.training.augment import affine_matrices, augment, draw, mixed

SIDE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
ALL = Augmentation(
    zoom=1.3,
    rotation=360,
    shear=30,
    translation=0.1,
    flip=True,
    brightness=0.1,
    contrast=0.2,
    colour=0.1,
    cutout=0.3,
    blur=0.1,
)


class Highest:
    """A generator whose every draw is the highest there is."""

    def uniform(self, low, high, shape):
        return np.full(shape, float(high))

    def integers(self, low, high, shape):
        return np.full(shape, high - 1)


class Lowest:
    """A generator whose every draw is the lowest there is."""

    def uniform(self, low, high, shape):
        return np.full(shape, float(low))

    def integers(self, low, high, shape):
        return np.full(shape, low)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- what is always so ---------------------------------------------------------------------------


def test_nothing_asked_changes_nothing():
    assert_array_equal(augment(IMAGES, Augmentation(), rng()), IMAGES)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_shape_and_type_stay(count: int):
    changed = augment(IMAGES[:count], ALL, rng())
    assert changed.shape == (count, SIDE, SIDE, 3)
    assert changed.dtype == np.uint8


def test_the_pictures_given_are_left_alone():
    before = IMAGES.copy()
    changed = augment(IMAGES, ALL, rng())
    assert_array_equal(IMAGES, before)
    assert not np.shares_memory(changed, IMAGES)


def test_read_only_pictures_are_no_obstacle():
    locked = IMAGES.copy()
    locked.flags.writeable = False
    assert_array_equal(augment(locked, ALL, rng()), augment(IMAGES, ALL, rng()))


def test_the_generator_decides():
    assert_array_equal(augment(IMAGES, ALL, rng(1)), augment(IMAGES, ALL, rng(1)))
    assert (augment(IMAGES, ALL, rng(1)) != augment(IMAGES, ALL, rng(2))).any(axis=(1, 2, 3)).all()


def test_every_picture_is_changed_in_its_own_way():
    same = np.repeat(IMAGES[:1], 20, axis=0)
    assert len({image.tobytes() for image in augment(same, ALL, rng())}) == 20


# --- known answers -------------------------------------------------------------------------------


def test_half_of_the_pictures_are_mirrored():
    many = np.repeat(IMAGES, 10, axis=0)
    changed = augment(many, Augmentation(flip=True), rng())
    mirrored = (changed == many[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (changed == many).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 0.4 < mirrored.mean() < 0.6


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3), (360, 4)])
def test_a_quarter_turn_is_numpys(degrees: float, turns: int):
    changed = augment(IMAGES, Augmentation(rotation=degrees), Highest())
    assert_array_equal(changed, np.rot90(IMAGES, turns, axes=(1, 2)))


def test_a_rotation_of_zero_is_no_rotation():
    assert_array_equal(augment(IMAGES, Augmentation(rotation=360), Lowest()), IMAGES)


@pytest.mark.parametrize("draw", [Highest(), Lowest()])
def test_a_shift_repeats_the_edge(draw):
    changed = augment(IMAGES, Augmentation(translation=0.25), draw)
    padded = np.pad(IMAGES, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    start = 6 if isinstance(draw, Highest) else 0
    assert_array_equal(changed, padded[:, start : start + SIDE, start : start + SIDE])


def test_zoom_is_between_its_inverse_and_itself_and_even_in_the_logarithm():
    matrices = affine_matrices(4000, SIDE, Augmentation(zoom=1.5), rng())
    logs = np.log(matrices[:, [0, 1], [0, 1]]) / np.log(1.5)
    assert np.abs(logs).max() <= 1
    assert np.abs(logs.mean(axis=0)).max() < 0.05
    assert_allclose(logs.std(axis=0), 1 / np.sqrt(3), rtol=0.05)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.05  # each axis by itself


def test_a_rotation_keeps_lengths_and_the_centre():
    matrices = affine_matrices(50, SIDE, Augmentation(rotation=360), rng())
    linear = matrices[:, :, :2]
    assert_allclose(linear @ linear.transpose(0, 2, 1), np.eye(2) + np.zeros((50, 1, 1)), atol=1e-9)
    assert_allclose(np.linalg.det(linear), 1)
    centre = np.array([(SIDE - 1) / 2, (SIDE - 1) / 2, 1])
    assert_allclose(matrices @ centre, np.full((50, 2), centre[0]))


def test_a_shear_stays_within_its_degrees():
    matrices = affine_matrices(500, SIDE, Augmentation(shear=30), rng())
    lean = np.rad2deg(np.arctan2(-matrices[:, 0, 1], matrices[:, 1, 1]))
    assert 29 < np.abs(lean).max() <= 30
    assert_allclose(matrices[:, :, 0], np.tile([1, 0], (500, 1)), atol=1e-12)


def test_brightness_adds_its_share_and_stops_at_white():
    bright = augment(IMAGES, Augmentation(brightness=0.2), Highest())
    assert_array_equal(bright, np.minimum(IMAGES.astype(int) + 51, 255))
    dark = augment(IMAGES, Augmentation(brightness=0.2), Lowest())
    assert_array_equal(dark, np.maximum(IMAGES.astype(int) - 51, 0))


def test_contrast_keeps_the_mean():
    grey = (IMAGES // 4 + 96).astype(np.uint8)  # away from black and white
    changed = augment(grey, Augmentation(contrast=0.5), Highest())
    axes = (1, 2, 3)
    assert_allclose(changed.mean(axis=axes), grey.mean(axis=axes), atol=0.5)
    assert_allclose(changed.std(axis=axes), 1.5 * grey.std(axis=axes), rtol=0.02)


def test_colour_multiplies_whole_channels():
    grey = np.full((30, SIDE, SIDE, 3), 100, np.uint8)
    changed = augment(grey, Augmentation(colour=0.3), rng())
    assert (changed == changed[:, :1, :1]).all()
    gains = changed[:, 0, 0] / 100
    assert gains.min() >= 0.7
    assert gains.max() <= 1.3
    assert gains.std(axis=1).min() > 0


@pytest.mark.parametrize(("share", "side"), [(0.25, 3), (0.5, 6), (0.01, 1), (0.99, 12)])
def test_cutout_erases_one_square_of_its_share(share: float, side: int):
    board = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 255
    images = np.repeat(board[None, ..., None], 3, axis=3).astype(np.uint8).repeat(40, axis=0)
    changed = augment(images, Augmentation(cutout=share), rng())
    places = set()
    for before, after in zip(images, changed, strict=True):
        rows, columns = np.nonzero((before != after).any(axis=2))
        top, left = rows.min(), columns.min()
        assert (rows.max() - top + 1, columns.max() - left + 1) == (side, side)
        assert len(rows) == side**2
        assert (after[top : top + side, left : left + side] == 127).all()
        places.add((top, left))
    assert len(places) > 1 or side == SIDE


def test_half_of_the_pictures_are_blurred_each_by_its_own_deviation():
    point = np.zeros((200, 41, 41, 3), np.uint8)
    point[:, 20, 20] = 255
    changed = augment(point, Augmentation(blur=0.05), rng()).astype(float)
    spread = changed[..., 0].sum(axis=1) / changed[..., 0].sum(axis=(1, 2))[:, None]
    place = np.arange(41) - 20
    deviation = np.sqrt((spread * place**2).sum(axis=1))
    blurred = deviation > 0
    assert 70 < blurred.sum() < 130
    assert deviation.max() < 0.05 * 41 * 1.1
    assert np.ptp(deviation[blurred]) > 1


def test_a_blur_keeps_even_pictures_and_their_edges():
    even = np.full((20, SIDE, SIDE, 3), 77, np.uint8)
    assert_array_equal(augment(even, Augmentation(blur=0.5), rng()), even)


# --- MixUp ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_what_is_kept_follows_the_beta_distribution(alpha: float):
    changes = draw(4000, SIDE, Augmentation(mixup=alpha), rng())
    assert_allclose(changes.kept.mean(), 0.5, atol=0.03)
    assert_allclose(changes.kept.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.1)
    assert sorted(changes.partners) == list(range(4000))


def test_a_mixture_is_of_two_pictures_and_of_their_targets():
    spec = Augmentation(mixup=1.0)
    images = augment(IMAGES, spec, rng())
    shares = mixed(np.eye(20, dtype=np.float32), draw(20, SIDE, spec, rng()))
    assert (np.count_nonzero(shares, axis=1) <= 2).all()
    assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert_allclose(images, np.einsum("nm,mhwc->nhwc", shares, IMAGES.astype(float)), atol=0.51)


def test_what_is_not_asked_for_is_not_drawn():
    """Or results would change for protocols from before it could be asked for."""

    class Counted(np.random.Generator):
        drawn = 0

        def __getattribute__(self, name: str):
            if name in ("uniform", "integers", "beta", "permutation"):
                Counted.drawn += 1
            return super().__getattribute__(name)

    draw(2, SIDE, Augmentation(), Counted(np.random.PCG64(0)))
    assert Counted.drawn == 4  # zoom, rotation, shear and shift have always been
    assert_array_equal(mixed(IMAGES, draw(20, SIDE, Augmentation(), rng())), IMAGES)
