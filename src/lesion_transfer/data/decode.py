"""Pictures: any file that Pillow can read to RGB, and RGB to the store's fixed size."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lesion_transfer.protocols import Preparation

RGB = NDArray[np.uint8]
"""A picture: (height, width, 3) uint8, 0–255, red first."""

MAX_PIXELS = 178_000_000
"""More is a decompression bomb: just under the limit at which Pillow itself refuses."""

# Not EPS, PDF and the like, whose readers start other programs.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")


class BadImage(Exception):  # noqa: N818 - a verdict on one picture; it does not stop a stage
    """A picture that cannot be used, with the reason in words."""


def decode(path: Path) -> RGB:
    """Read a picture as it is meant to be seen.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is
    transparent is laid on white, for the colour hidden under it means nothing. Of an animation the
    first frame is read.

    Returns
    -------
    (height, width, 3) uint8, 0–255.

    Raises
    ------
    BadImage
        The file is missing, unreadable, empty, truncated, corrupt, not a picture, or beyond
        :data:`MAX_PIXELS`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BadImage("no such file") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
    return decode_bytes(content)


def decode_bytes(content: bytes) -> RGB:
    """Do what :func:`decode` does with the content of a file."""
    if not content:
        raise BadImage("empty file")
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(f"{image.width}×{image.height} pixels are too many")
            return _to_rgb(ImageOps.exif_transpose(image))
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not a picture of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadImage("too many pixels") from error
    except Exception as error:
        # Pillow's decoders answer a corrupt file with almost any exception: OSError, SyntaxError,
        # ValueError, struct.error, zlib.error, IndexError…
        raise BadImage(f"corrupt: {error}") from error


def _to_rgb(image: Image.Image) -> RGB:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise BadImage("32-bit pixels, whose range is unknown")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer)
    return np.array(image.convert("RGB"))


def prepare(picture: RGB, preparation: Preparation) -> RGB:
    """Return the picture in the store's size: ``(size, size, 3)`` uint8.

    The centre crop keeps the share ``preparation.crop`` of each side; then the picture is resized
    straight to the square, its aspect not kept, as in the paper.
    """
    for step in (_centre_crop, _resize):
        picture = step(picture, preparation)
    return picture


def _centre_crop(picture: RGB, preparation: Preparation) -> RGB:
    height, width = picture.shape[:2]
    kept_height = max(1, round(height * preparation.crop))
    kept_width = max(1, round(width * preparation.crop))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return picture[top : top + kept_height, left : left + kept_width]


def _resize(picture: RGB, preparation: Preparation) -> RGB:
    size = preparation.size
    # Averaging over areas keeps a shrunk picture free of aliasing; enlarging needs interpolation.
    shrinks = min(picture.shape[:2]) >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (size, size), interpolation=method)
    return np.asarray(resized, dtype=np.uint8)
