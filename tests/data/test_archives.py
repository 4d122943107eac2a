import contextlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import tree

from lesion_transfer.data.archives import Limits, is_archive, stem, unpack
from lesion_transfer.data.download import safe_path
from lesion_transfer.errors import UserError

Make = Callable[[Path, dict[str, bytes]], None]


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2016, 4, 1, 0, 0, 0)), content, 8)


def _tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1459468800
            archive.addfile(info, io.BytesIO(content))


MAKERS = pytest.mark.parametrize(("make", "name"), [(_zip, "set.zip"), (_tar, "set.tar.gz")])


@MAKERS
def test_an_archive_gives_its_files_and_their_dates(tmp_path: Path, make: Make, name: str) -> None:
    content = {"Data/a.jpg": b"a" * 3_000_000, "Data/Sub Folder/ü.jpg": b"", "t.csv": b"x"}
    make(tmp_path / name, content | {"__MACOSX/Data/._a.jpg": b"m", "Data/.DS_Store": b"m"})
    gained: list[int] = []
    unpack(tmp_path / name, tmp_path / "out", advance=gained.append)
    assert tree(tmp_path / "out") == content
    assert sum(gained) == 3_000_001
    assert (tmp_path / "out" / "t.csv").stat().st_mtime == 1459468800


ESCAPES = ("../x", "a/../../x", "/etc/x", "..", "a\\..\\..\\x", "C:\\x", "C:x", "\x07x")


@MAKERS
@pytest.mark.parametrize("member", ESCAPES)
def test_no_member_escapes(tmp_path: Path, make: Make, name: str, member: str) -> None:
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    make(folder / name, {"ok.txt": b"1", member: b"evil"})
    with pytest.raises(UserError, match="leads out of the folder"):
        unpack(folder / name, folder / "out")
    assert set(tree(tmp_path)) <= {f"in/deep/{name}", "in/deep/out/ok.txt"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_no_links_or_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../../etc"
        archive.addfile(info)
        content = tarfile.TarInfo("link/passwd")
        archive.addfile(content, io.BytesIO())
    with pytest.raises(UserError, match="'link' is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not tree(tmp_path / "out")


def test_no_links_and_nothing_encrypted_in_a_zip(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="'link' is a link or a device"):
        unpack(tmp_path / "link.zip", tmp_path / "out")
    _zip(tmp_path / "secret.zip", {"a": b"1"})
    raw = bytearray((tmp_path / "secret.zip").read_bytes())
    raw[6] |= 1  # the flag, in the member's own header …
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # … and in the directory
    (tmp_path / "secret.zip").write_bytes(raw)
    with pytest.raises(UserError, match="'a' is encrypted"):
        unpack(tmp_path / "secret.zip", tmp_path / "out")


@MAKERS
def test_a_bomb_is_noticed_by_what_comes_out(tmp_path: Path, make: Make, name: str) -> None:
    make(tmp_path / name, {"bomb": bytes(40 << 20)})
    with pytest.raises(UserError, match="swells to more than"):
        unpack(tmp_path / name, tmp_path / "out", Limits(small=1 << 20))
    assert sum(map(len, tree(tmp_path / "out").values())) <= 5 << 20
    unpack(tmp_path / name, tmp_path / "out")  # small enough not to matter, whatever the ratio
    make(tmp_path / name, {f"{k}": b"" for k in range(20)})
    with pytest.raises(UserError, match="more than 10 members"):
        unpack(tmp_path / name, tmp_path / "out", Limits(members=10))


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    _zip(tmp_path / "a.zip", {"a": bytes(5 << 20)})
    raw = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(raw.replace((5 << 20).to_bytes(4, "little"), b"\x10\0\0\0"))
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_whose_names_are_not_in_their_encoding(tmp_path: Path) -> None:
    _zip(tmp_path / "a.zip", {"éé.jpg": b"1"})
    raw = (tmp_path / "a.zip").read_bytes().replace("éé".encode(), b"\xff\xfe\xff\xfe")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@MAKERS
def test_a_file_that_is_also_a_folder(tmp_path: Path, make: Make, name: str) -> None:
    make(tmp_path / name, {"a": b"1", "a/b": b"2"})
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / name, tmp_path / "out")


@MAKERS
@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.99), flip=st.floats(0, 0.99), data=st.binary(max_size=64))
def test_damage_is_reported_or_harmless(
    tmp_path_factory: pytest.TempPathFactory,
    make: Make,
    name: str,
    cut: float,
    flip: float,
    data: bytes,
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    make(folder / name, {"a.bin": bytes(range(256)) * 40, "b": data})
    raw = bytearray((folder / name).read_bytes())
    raw[int(flip * len(raw))] ^= 0x55
    (folder / name).write_bytes(raw[: int((1 - cut * cut) * len(raw))])
    with contextlib.suppress(UserError):
        unpack(folder / name, folder / "out")
    assert {path.name for path in folder.iterdir()} <= {name, "out"}


def test_names() -> None:
    assert is_archive("A.ZIP")
    assert is_archive("x.tar.gz")
    assert not is_archive("x.csv.gz")
    assert (stem("set.tar.gz"), stem("a.b.ZIP"), stem("plain")) == ("set", "a.b", "plain")
    assert all(safe_path(name) is None for name in (*ESCAPES, "", ".", "/"))
    assert str(safe_path("Data/ü 1.jpg")) == "Data/ü 1.jpg"
