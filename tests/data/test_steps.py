from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_transfer.data.decode import decode_bytes
from lesion_transfer.data.steps import Box, crop_box, prepare, prepare_bytes
from lesion_transfer.protocols import CentreCrop, Circle, TrimBorder

TRIM, CIRCLE = TrimBorder(), Circle()


def _skin(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(120, 230, (height, width, 3), np.uint8)


def _framed(frame: int = 8) -> tuple[np.ndarray, Box]:
    picture = np.random.default_rng(1).integers(0, frame, (100, 200, 3)).astype(np.uint8)
    picture[10:90, 30:195] = _skin(80, 165)
    return picture, Box(30, 10, 195, 90)


def _disc(radius: float, centre: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    return np.where(inside[..., None], (160, 80, 30), 3).astype(np.uint8)


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def test_the_centre_crop_keeps_a_share_of_each_side() -> None:
    assert crop_box(_skin(100, 60), [CentreCrop(keep=0.5)]) == Box(15, 25, 45, 75)


@pytest.mark.parametrize("frame", [1, 8, 50])
def test_a_dark_frame_is_trimmed(frame: int) -> None:
    picture, box = _framed(frame)
    assert crop_box(picture, [TRIM]) == box


def test_dust_on_the_frame_does_not_stop_trimming() -> None:
    picture, box = _framed()
    picture[2, 5:7] = 255
    assert crop_box(picture, [TRIM]) == box


def test_a_bright_line_around_the_frame_is_trimmed_too() -> None:
    picture, box = _framed()
    picture[0], picture[-1], picture[:, 0], picture[:, -1] = 255, 255, 255, 255
    assert crop_box(picture, [TRIM]) == box


def test_skin_is_not_trimmed() -> None:
    assert crop_box(np.full((50, 70, 3), 200, np.uint8), [TRIM]) == Box(0, 0, 70, 50)


def test_corners_of_a_round_field_of_view_are_not_trimmed() -> None:
    assert crop_box(_disc(50, (50, 50), (100, 100)), [TRIM]).side > 96


def test_the_fuzz_says_what_is_dark() -> None:
    picture, _ = _framed()
    picture[picture.max(axis=2) < 8] = 60
    assert crop_box(picture, [TRIM]) == Box(0, 0, 200, 100)
    assert crop_box(picture, [TrimBorder(fuzz=0.25)]) != Box(0, 0, 200, 100)


def test_a_retina_is_cropped_to_its_disc() -> None:
    box = crop_box(_disc(60, (70, 120), (150, 240)), [CIRCLE])
    np.testing.assert_allclose(box, (60, 10, 180, 130), atol=2)


def test_a_disc_beyond_the_picture_is_cropped_where_it_is_seen() -> None:
    box = crop_box(_disc(90, (75, 150), (150, 300)), [CIRCLE])
    np.testing.assert_allclose(box, (60, 0, 240, 150), atol=2)


@pytest.mark.parametrize("step", [TRIM, CIRCLE])
@pytest.mark.parametrize("value", [0, 7])
def test_a_dark_picture_is_left_whole(step: TrimBorder | Circle, value: int) -> None:
    assert crop_box(np.full((40, 60, 3), value, np.uint8), [step]) == Box(0, 0, 60, 40)


def test_steps_follow_one_another() -> None:
    picture, _ = _framed()
    box = crop_box(picture, [TRIM, CentreCrop(keep=0.9)])
    np.testing.assert_allclose(box, (38.25, 14, 186.75, 86))


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (16, 16), (17, 15), (8, 8)])
@pytest.mark.parametrize("steps", [(), (TRIM, CentreCrop(keep=0.95)), (CIRCLE,)])
def test_any_shape_becomes_the_size(shape: tuple[int, int], steps: tuple) -> None:
    picture = np.full((*shape, 3), (97, 98, 99), np.uint8)
    prepared = prepare(picture, 16, steps)
    assert prepared.shape == (16, 16, 3)
    assert prepared.dtype == np.uint8
    assert (prepared == (97, 98, 99)).all()


def test_shrinking_averages() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 200
    assert abs(prepare(stripes, 16, ()).astype(int) - 100).max() <= 5


@pytest.mark.parametrize("size", [32, 50, 64])
@pytest.mark.parametrize("steps", [(), (TRIM, CentreCrop(keep=0.95))])
def test_reduced_decoding_gives_nearly_the_pixels_of_full_decoding(
    shared: Path, size: int, steps: tuple
) -> None:
    folder = shared / "data" / "isic2017" / "ISIC-2017_Training_Data"
    for path in sorted(folder.glob("*.jpg"))[:20]:
        content = path.read_bytes()
        with Image.open(path) as image:
            full = prepare(np.asarray(image.convert("RGB")), size, steps).astype(float)
        assert abs(prepare_bytes(content, size, steps) - full).mean() < 1.5


def test_a_picture_of_which_little_is_kept_is_decoded_larger() -> None:
    picture = np.zeros((800, 800, 3), np.uint8)
    picture[360:440, 360:440] = _skin(80, 80)
    content = _jpeg(picture)
    full = prepare(decode_bytes(content).picture, 64, (TRIM,))
    np.testing.assert_array_equal(prepare_bytes(content, 64, (TRIM,)), full)


def test_a_box_does_not_depend_on_the_scale_of_decoding(shared: Path) -> None:
    """Even where the picture is as dark as its border, as in ISIC_0000004."""
    folder = shared / "data" / "isic2017" / "ISIC-2017_Training_Data"
    for path in sorted(folder.glob("*.jpg"))[:20]:
        with Image.open(path) as image:
            large = np.asarray(image.convert("RGB").resize((2048, 1536)))
            small = np.asarray(image.convert("RGB").resize((512, 384)))
        boxes = [crop_box(picture, [TRIM, CIRCLE]) for picture in (large, small)]
        np.testing.assert_allclose(np.divide(boxes[0], 2048), np.divide(boxes[1], 512), atol=0.01)
