"""Files to pictures: whatever is a picture becomes 8-bit RGB, anything else gets a reason.

JPEG, which nearly all archives are, is decoded by libjpeg-turbo itself (``simplejpeg``): at reduced
scale where that is enough, and strictly, for the decoders of Pillow and OpenCV fill what is missing
of a damaged file with grey and say nothing. Everything else is read by Pillow.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

RGB = NDArray[np.uint8]
"""A picture: (height, width, 3) uint8, 0–255, red first."""

MAX_PIXELS = 89_478_485
"""More is a decompression bomb: the limit above which Pillow warns of one."""

MAX_BYTES = 2**28
"""The largest file that is read: 256 MB."""

_MAX_SCANS = 256  # of a progressive JPEG; a file of thousands would be decoded for hours
_SCAN = b"\xff\xda"

# Not EPS, PDF and the like, whose readers start other programs.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")

_UPRIGHT: dict[int, Callable[[RGB], RGB]] = {
    2: np.fliplr,
    3: lambda picture: np.rot90(picture, 2),
    4: np.flipud,
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What makes a picture with each EXIF orientation but 1 stand upright."""


class BadImage(Exception):  # noqa: N818 - a verdict on one picture; it does not stop a stage
    """A picture that cannot be used, with the reason in words."""


class Decoded(NamedTuple):
    """A picture, and whether its file holds it larger."""

    picture: RGB
    reduced: bool = False


def decode(path: Path) -> RGB:
    """Read a picture in full, as it is meant to be seen; see :func:`decode_bytes`.

    Raises
    ------
    BadImage
        The file cannot be read or used.
    """
    return decode_bytes(read_file(path)).picture


def read_file(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    BadImage
        There is no such file, it cannot be read, is no plain file, empty, or over
        :data:`MAX_BYTES`.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
            raise BadImage("cannot be read: not a plain file")
        if state.st_size > MAX_BYTES:
            raise BadImage(f"{state.st_size / 2**20:,.0f} MB are too many")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BadImage("no such file") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
    if not content:
        raise BadImage("empty file")
    return content


def decode_bytes(content: bytes, at_least: int | None = None) -> Decoded:
    """Decode the content of a file as it is meant to be seen.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; what is
    transparent is laid on white, for the colour hidden under it means nothing. Of an animation or
    a file of several pages the first picture is taken.

    Parameters
    ----------
    at_least
        Neither side needs to be longer; a JPEG is then decoded at the smallest scale (in eighths)
        that leaves both at least this long. None: decoded in full.

    Raises
    ------
    BadImage
        It is empty, truncated, corrupt, not a picture, or beyond :data:`MAX_PIXELS`.
    """
    if not content:
        raise BadImage("empty file")
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(f"{image.width}×{image.height} pixels are too many")
            if image.format in ("JPEG", "MPO"):
                return _jpeg(content, image, at_least)
            ImageOps.exif_transpose(image, in_place=True)  # else it copies what is upright, too
            return Decoded(_to_rgb(image))
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not a picture of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadImage("too many pixels") from error
    except Exception as error:
        # Decoders answer a corrupt file with almost any exception: OSError, SyntaxError,
        # ValueError, struct.error, zlib.error, IndexError…
        raise BadImage(f"corrupt: {error}") from error


def _jpeg(content: bytes, header: Image.Image, at_least: int | None) -> Decoded:
    if "progressive" in header.info and content.count(_SCAN) > _MAX_SCANS:
        raise BadImage("too many scans")
    side = at_least or 0
    stored = simplejpeg.decode_jpeg(content, "RGB", min_height=side, min_width=side, min_factor=1)
    orientation = header.getexif().get(ExifTags.Base.Orientation, 1)
    upright = _UPRIGHT.get(orientation, np.asarray)
    return Decoded(np.ascontiguousarray(upright(stored)), stored.shape[0] < header.height)


def _to_rgb(image: Image.Image) -> RGB:
    """Convert it with as few copies as may be: one of the largest picture has 360 MB."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise BadImage("32-bit pixels, whose range is unknown")
    if image.has_transparency_data:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        white.alpha_composite(layer)
        image = white
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
