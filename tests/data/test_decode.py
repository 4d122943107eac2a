from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lesion_transfer.data.decode import BadImage, decode, decode_bytes


def _file(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (6, 4), colour)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "rgb"),
    [
        (_file(_flat("RGB", (10, 20, 30))), (10, 20, 30)),
        (_file(_flat("L", 77)), (77, 77, 77)),
        (_file(_flat("1", 1)), (255, 255, 255)),
        (_file(_flat("I;16", 30_000)), (116, 116, 116)),
        (_file(_flat("I;16", 65_535)), (255, 255, 255)),
        (_file(_flat("P", 0).convert("RGB").convert("P")), (0, 0, 0)),
        (_file(_flat("RGBA", (200, 0, 0, 0))), (255, 255, 255)),
        (_file(_flat("RGBA", (200, 0, 0, 255))), (200, 0, 0)),
        (_file(_flat("LA", (0, 51))), (204, 204, 204)),
        (_file(_flat("CMYK", (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
        (_file(_flat("RGB", (0, 255, 0)), "BMP"), (0, 255, 0)),
        (_file(_flat("RGB", (1, 2, 3)), "GIF"), (1, 2, 3)),
        (_file(_flat("RGB", (9, 8, 7)), "WEBP", lossless=True), (9, 8, 7)),
    ],
)
def test_every_kind_of_picture_becomes_rgb(content: bytes, rgb: tuple[int, int, int]) -> None:
    picture = decode_bytes(content).picture
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    assert {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()} == {rgb}


def test_a_palettes_transparent_colour_is_laid_on_white() -> None:
    palette = Image.new("P", (6, 4), 0)
    palette.putpalette([50, 60, 70, 80, 90, 100])
    assert decode_bytes(_file(palette, transparency=0)).picture.min() == 255


def test_cmyk_jpeg() -> None:
    picture = decode_bytes(_file(_flat("CMYK", (255, 0, 0, 0)), "JPEG", quality=95)).picture
    np.testing.assert_allclose(picture[0, 0], (0, 255, 255), atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    corners = np.zeros((32, 64, 3), np.uint8)
    corners[:16, :32], corners[16:, :32], corners[:16, 32:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _file(Image.fromarray(corners), format, exif=exif, quality=95)
    with Image.open(BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    picture = decode_bytes(content).picture
    assert picture.shape == expected.shape == ((32, 64, 3) if orientation < 5 else (64, 32, 3))
    np.testing.assert_allclose(picture.astype(int), expected.astype(int), atol=2)
    reduced = decode_bytes(content, at_least=16).picture
    assert (reduced.shape[0] < reduced.shape[1]) == (orientation < 5)


@pytest.mark.parametrize(
    ("at_least", "shape"), [(None, (96, 160)), (12, (12, 20)), (13, (24, 40)), (97, (96, 160))]
)
def test_a_jpeg_is_decoded_no_larger_than_needed(
    at_least: int | None, shape: tuple[int, int]
) -> None:
    content = _file(Image.new("RGB", (160, 96), (90, 120, 30)), "JPEG", quality=95)
    picture, reduced = decode_bytes(content, at_least)
    assert picture.shape == (*shape, 3)
    assert reduced == (shape[0] < 96)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_file(_flat("RGB", (10, 20, 30))))
    assert decode(path).shape == (4, 6, 3)


_NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
_JPEG = _file(_NOISE, "JPEG")
_PNG = _file(_NOISE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (_JPEG[: len(_JPEG) // 2], "Premature end"),
        (_PNG[: len(_PNG) // 2], "corrupt"),
        (_JPEG[:30], "not a picture|corrupt"),
        (_PNG[:100] + bytes(200) + _PNG[300:], "corrupt"),
        (_file(_flat("F", 0.5), "TIFF"), "32-bit"),
        (b"P6\n20000 20000\n255\n", "too many"),
        (b"P6\n9000 20000\n255\n", "too many"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_picture_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode_bytes(content)


def test_a_missing_file_and_a_folder_are_bad_images(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="no such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(BadImage, match="cannot be read"):
        decode(tmp_path)
