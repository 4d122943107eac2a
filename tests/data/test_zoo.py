"""Corrupt and odd files: none crashes, hangs or becomes a wrong picture."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from lesion_transfer.data import decode as module
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store
from lesion_transfer.data.decode import BadImage, decode, decode_bytes
from lesion_transfer.data.steps import prepare_bytes
from lesion_transfer.protocols import Preparation

_RNG = np.random.default_rng(0)
_SMOOTH = Image.fromarray(_RNG.integers(40, 216, (6, 8, 3), np.uint8)).resize((96, 64))


def _file(image: Image.Image = _SMOOTH, format: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


JPEG = _file(quality=95)
PROGRESSIVE = _file(quality=95, progressive=True)
RESTARTS = _file(quality=95, restart_marker_rows=1)
PNG = _file(format="PNG")
GIF = _file(format="GIF")
TIFF = _file(format="TIFF")
WEBP = _file(format="WEBP", lossless=True)
BMP = _file(format="BMP")
JP2 = _file(format="JPEG2000")
SCAN = JPEG.index(b"\xff\xda")


def _png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than it has."""
    frame = JPEG.index(b"\xff\xc0")
    return JPEG[: frame + 5] + struct.pack(">HH", height, width) + JPEG[frame + 9 :]


BAD = {
    "zero bytes": b"",
    "one byte": b"\xff",
    "only zeros": bytes(5000),
    "noise": _RNG.bytes(5000),
    "text": b"this is not a picture",
    "an error page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "eps, whose reader starts a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "a macOS resource fork": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(64),
    "jpeg signature alone": b"\xff\xd8\xff",
    "jpeg header alone": JPEG[:SCAN],
    "jpeg cut in half": JPEG[: len(JPEG) // 2],
    "jpeg without its last bytes": JPEG[:-40],
    "jpeg cut, but with its end marker": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "progressive jpeg cut": PROGRESSIVE[: len(PROGRESSIVE) // 2],
    "progressive jpeg cut, with its end marker": PROGRESSIVE[: len(PROGRESSIVE) // 2] + b"\xff\xd9",
    "jpeg with restarts cut": RESTARTS[: len(RESTARTS) // 2] + b"\xff\xd9",
    "jpeg higher than its data": _jpeg_of_size(96, 6400),
    "jpeg bomb": _jpeg_of_size(65_000, 65_000),
    "jpeg with thousands of scans": PROGRESSIVE[:-2] + b"\xff\xda\x00\x08" * 5000 + b"\xff\xd9",
    "jpeg without tables": JPEG.replace(b"\xff\xdb", b"\xff\xec").replace(b"\xff\xc4", b"\xff\xec"),
    "jpeg of zero width": _jpeg_of_size(0, 64),
    "png cut": PNG[: len(PNG) // 2],
    "png with a wrong checksum": PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:],
    "png bomb": _png(60_000, 60_000),
    "png without enough data": _png(64, 64, data=b"\0" * 50),
    "png of zero size": _png(0, 0),
    "png with a text bomb": PNG[:33]
    + (
        lambda c: (
            struct.pack(">I", len(c)) + b"zTXt" + c + struct.pack(">I", zlib.crc32(b"zTXt" + c))
        )
    )(b"k\0\0" + zlib.compress(bytes(80_000_000)))
    + PNG[33:],
    "gif header alone": GIF[:13],
    "gif cut": GIF[: len(GIF) // 2],
    "tiff cut": TIFF[: len(TIFF) // 2],
    "tiff of a loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "webp cut": WEBP[: len(WEBP) // 2],
    "bmp cut": BMP[: len(BMP) // 2],
    "bmp of negative size": BMP[:18] + struct.pack("<ii", -96, 64) + BMP[26:],
    "jpeg 2000 cut": JP2[: len(JP2) // 2],
    "32-bit floats": _file(Image.new("F", (8, 8), 0.5), "TIFF"),
    "32-bit integers": _file(Image.new("I", (8, 8), 70_000), "TIFF"),
    "ppm bomb": b"P6\n30000 30000\n255\n",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.timeout(20)
def test_a_bad_file_is_rejected_with_a_reason(name: str) -> None:
    for at_least in (None, 16):
        with pytest.raises(BadImage) as reason:
            decode_bytes(BAD[name], at_least)
        assert 5 < len(str(reason.value)) < 300
        assert "\n" not in str(reason.value)


def _with_mpo() -> bytes:
    return _file(_SMOOTH, "MPO", save_all=True, append_images=[_SMOOTH.rotate(180)], quality=95)


def _animation(format: str) -> bytes:
    black = Image.new("RGB", _SMOOTH.size)
    lossless = {"lossless": True} if format == "WEBP" else {}
    return _file(_SMOOTH, format, save_all=True, append_images=[black], **lossless)


def _sixteen_bit_rgb() -> bytes:
    pixels = np.asarray(_SMOOTH).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return _png(96, 64, depth=16, data=rows)


ODD: dict[str, Callable[[], bytes]] = {
    "as it is": lambda: JPEG,
    "progressive": lambda: PROGRESSIVE,
    "with restarts": lambda: RESTARTS,
    "4:4:4": lambda: _file(quality=95, subsampling=0),
    "4:1:1": lambda: _file(quality=95, subsampling="4:1:1"),
    "trailing bytes": lambda: JPEG + b"from a camera" * 50,
    "a comment with a scan marker": lambda: _file(quality=95, comment=b"\xff\xda" * 9),
    "cmyk jpeg": lambda: _file(_SMOOTH.convert("CMYK"), quality=95),
    "cmyk tiff": lambda: _file(_SMOOTH.convert("CMYK"), "TIFF"),
    "several pictures in one jpeg": _with_mpo,
    "alpha": lambda: _file(_SMOOTH.convert("RGBA"), "PNG"),
    "16 bits a channel": _sixteen_bit_rgb,
    "interlaced palette": lambda: _file(_SMOOTH.quantize(256), "PNG"),
    "animated gif": lambda: _animation("GIF"),
    "animated webp": lambda: _animation("WEBP"),
    "animated png": lambda: _animation("PNG"),
    "tiff of several pages": lambda: _animation("TIFF"),
    "compressed tiff": lambda: _file(format="TIFF", compression="tiff_lzw"),
    "jpeg in tiff": lambda: _file(format="TIFF", compression="jpeg", quality=95),
    "broken exif": lambda: _file(quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_becomes_the_right_picture(name: str) -> None:
    picture = decode_bytes(ODD[name]()).picture.astype(int)
    assert picture.shape == (64, 96, 3)
    assert abs(picture - np.asarray(_SMOOTH)).mean() < 6  # a palette has 256 colours


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(format: str) -> None:
    grey = np.asarray(_SMOOTH.convert("L"))
    content = _file(Image.fromarray(grey.astype(np.uint16) * 257), format)
    np.testing.assert_array_equal(decode_bytes(content).picture[..., 1], grey)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, reason in (
        ("pipe", "plain"),
        ("link", "no such"),
        ("none", "no such"),
        (".", "plain"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(tmp_path / name)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    with pytest.raises(BadImage, match="too many"):
        decode(tmp_path / "a.jpg")


def test_the_setting_that_fills_truncated_files_is_off() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


_ORIGINALS = st.sampled_from([JPEG, PROGRESSIVE, RESTARTS, PNG, GIF, TIFF, WEBP, BMP, JP2])


@settings(max_examples=300, deadline=5000)
@given(_ORIGINALS, st.data())
def test_damage_is_refused_or_gives_a_picture(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = prepare_bytes(bytes(damaged), 16, ())
    except BadImage:
        return
    assert picture.shape == (16, 16, 3)


@settings(max_examples=200, deadline=5000)
@given(st.sampled_from([JPEG, PROGRESSIVE, RESTARTS, PNG]), st.floats(0.0, 0.97))
def test_a_cut_file_is_never_taken_for_a_picture(content: bytes, share: float) -> None:
    with pytest.raises(BadImage):
        decode_bytes(content[: int(share * len(content))])


@settings(max_examples=100, deadline=5000)
@given(st.sampled_from([JPEG, RESTARTS]), st.floats(0.0, 0.97))
def test_nor_one_that_was_cut_and_ended(content: bytes, share: float) -> None:
    """Progressive JPEGs are left out: cut between two scans they are whole, only coarser."""
    with pytest.raises(BadImage):
        decode_bytes(content[: int(share * len(content))] + b"\xff\xd9")


@settings(max_examples=100, deadline=5000)
@given(
    st.binary(max_size=300), st.sampled_from([b"", JPEG[:2], PNG[:8], GIF[:6], TIFF[:4], b"P6 "])
)
def test_nonsense_is_refused(nonsense: bytes, start: bytes) -> None:
    with pytest.raises(BadImage):
        decode_bytes(start + nonsense)


def test_a_store_of_the_zoo(tmp_path: Path) -> None:
    """The good pictures are stored as if they were alone, the others listed with reasons."""
    folder = tmp_path / "zoo" / "nv"
    folder.mkdir(parents=True)
    for number, content in enumerate(BAD.values()):
        (folder / f"bad{number:02}.jpg").write_bytes(content)
    good = {name: make() for name, make in ODD.items() if "cmyk" not in name}
    for number, content in enumerate(good.values()):
        (folder / f"good{number:02}.png").write_bytes(content)
    data = open_dataset("folder", str(tmp_path / "zoo"))
    store = build_store(data, Preparation(size=16), tmp_path / "stores", max_rejected=1)
    assert len(store.index) == len(good)
    assert len(store.rejected) == len(BAD)
    assert store.rejected["reason"].str.len().min() > 5
    for row, content in enumerate(good.values()):
        np.testing.assert_array_equal(store.images[row], prepare_bytes(content, 16, ()))
    assert store.index["group_id"].nunique() < len(good) / 2  # all show the same
