"""Fetching from a web server that misbehaves, on loopback."""

import hashlib
import io
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import Site, serve, tree, zipped

from lesion_transfer.data import download as downloading
from lesion_transfer.data import fetch as fetching
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.fetch import fetch, is_remote
from lesion_transfer.data.web import open_web, shown
from lesion_transfer.errors import UserError

NOISE = os.urandom(3_000_000)
MB = 1 << 20


def test_an_archive_is_fetched_and_unpacked_once(site: Site, tmp_path: Path) -> None:
    site.files["/sets/photos.zip"] = zipped(mel__a_jpg=b"1", nv__b_jpg=NOISE)
    steps: list[tuple[int, int]] = []
    url = f"{site.url}/sets/photos.zip"
    folder = fetch(url, tmp_path, "folder", progress=lambda *step: steps.append(step))
    assert tree(folder) == {"mel/a.jpg": b"1", "nv/b.jpg": NOISE}
    assert steps[-1][0] == steps[-1][1] > 0
    before = len(site.sent)
    assert fetch(url, tmp_path, "folder") == folder
    assert len(site.sent) == before
    assert not list(tmp_path.rglob("*.zip"))
    data = open_dataset("folder", url, downloads=tmp_path)
    assert (data.name, len(data.records)) == ("folder_photos", 2)


def test_a_changed_archive_is_fetched_again(site: Site, tmp_path: Path) -> None:
    site.files["/a.zip"] = zipped(x__a_jpg=b"1")
    fetch(f"{site.url}/a.zip", tmp_path, "folder")
    site.files["/a.zip"] = zipped(x__a_jpg=b"2")
    assert tree(fetch(f"{site.url}/a.zip", tmp_path, "folder")) == {"a.jpg": b"2"}


def test_an_archive_that_changed_before_it_was_unpacked_is_fetched_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    site.files["/a.zip"] = zipped(x__a_jpg=b"1")
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "unpack", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{site.url}/a.zip", tmp_path, "folder")
    site.files["/a.zip"] = zipped(x__a_jpg=b"2")
    assert tree(fetch(f"{site.url}/a.zip", tmp_path, "folder")) == {"a.jpg": b"2"}
    assert not list(tmp_path.rglob("*.zip"))


def test_a_transfer_goes_on_where_it_broke_off(site: Site, tmp_path: Path) -> None:
    content = site.files["/a.zip"] = zipped(x__a_jpg=NOISE)
    site.cut = [MB, 0, MB // 2]
    assert tree(fetch(f"{site.url}/a.zip", tmp_path, "folder")) == {"a.jpg": NOISE}
    assert [start for _, start, _ in site.sent] == [0, MB, MB, MB * 3 // 2]
    assert site.bytes_of("/a.zip") == len(content)


def test_another_command_goes_on_where_the_first_gave_up(site: Site, tmp_path: Path) -> None:
    content = site.files["/a.zip"] = zipped(x__a_jpg=NOISE)
    site.cut = [2 * MB] + [0] * 20
    with pytest.raises(UserError, match="cannot be fetched") as error:
        fetch(f"{site.url}/a.zip", tmp_path, "folder")
    assert "continues where this stopped" in error.value.next_step
    site.cut = []
    fetch(f"{site.url}/a.zip", tmp_path, "folder")
    assert site.bytes_of("/a.zip") == len(content)


@pytest.mark.parametrize("lacking", ["ranges", "etags", "sizes"])
def test_servers_that_know_less(site: Site, tmp_path: Path, lacking: str) -> None:
    setattr(site, lacking, False)
    if lacking == "sizes":
        site.ranges = False  # an answer to a range says the size
    else:
        site.cut = [1_000_000]
    site.files["/a.zip"] = zipped(x__a_jpg=NOISE)
    assert tree(fetch(f"{site.url}/a.zip", tmp_path, "folder")) == {"a.jpg": NOISE}


def test_a_file_that_changes_while_it_is_fetched(site: Site, tmp_path: Path) -> None:
    site.files["/a.zip"] = zipped(x__a_jpg=NOISE)
    _, (file,) = open_web(f"{site.url}/a.zip")
    site.files["/a.zip"] = bytes(len(site.files["/a.zip"]) + 7)
    remote, _ = open_web(f"{site.url}/a.zip")
    with pytest.raises(UserError, match="arrived damaged, twice: it has"):
        downloading.download(remote, file, tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_checksum_in_the_address(site: Site, tmp_path: Path) -> None:
    content = site.files["/a.zip"] = zipped(x__a_jpg=b"1")
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    with pytest.raises(UserError, match="arrived damaged, twice: its SHA256 is"):
        fetch(f"{site.url}/a.zip#sha256={wrong}", tmp_path, "folder")
    with pytest.raises(UserError, match="after # is no checksum"):
        fetch(f"{site.url}/a.zip#sha256=12", tmp_path, "folder")
    assert tree(fetch(f"{site.url}/a.zip#sha256={right}", tmp_path, "folder"))


def test_an_unsafe_archive_leaves_nothing_usable(site: Site, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../evil", "x")
    site.files["/a.zip"] = content.getvalue()
    for _ in range(2):
        with pytest.raises(UserError, match="not safe to unpack"):
            fetch(f"{site.url}/a.zip", tmp_path / "cache", "folder")
    assert not list(tmp_path.rglob("evil"))


def test_the_official_names_are_asked_for(site: Site, tmp_path: Path) -> None:
    image = zipped(ISBI2016_ISIC_Part3_Training_Data__I_0_jpg=b"1")
    site.files = {
        "/2016/ISBI2016_ISIC_Part3_Training_Data.zip": image,
        "/2016/ISBI2016_ISIC_Part3_Training_GroundTruth.csv": b"I_0,benign\n",
        "/2016/ISBI2016_ISIC_Part1_Training_Data.zip": b"not asked for",
    }
    data = open_dataset("isic2016", f"{site.url}/2016", downloads=tmp_path)
    assert [record.image_id for record in data.records] == ["I_0"]
    assert data.records[0].path is not None
    assert data.records[0].path.read_bytes() == b"1"
    with pytest.raises(UserError, match="holds none of its files"):
        open_dataset("isic2016", f"{site.url}/2017", downloads=tmp_path)


def test_pictures_without_a_folder_get_their_archives_name(site: Site, tmp_path: Path) -> None:
    site.files = {
        "/2016/ISBI2016_ISIC_Part3_Training_Data.zip": zipped(I_0_jpg=b"1", I_1_jpg=b"2"),
        "/2016/ISBI2016_ISIC_Part3_Training_GroundTruth.csv": b"I_0,benign\nI_1,malignant\n",
    }
    data = open_dataset("isic2016", f"{site.url}/2016", downloads=tmp_path)
    assert [record.path.is_file() for record in data.records if record.path] == [True, True]


def test_what_was_fetched_is_used_without_a_connection(tmp_path: Path) -> None:
    with serve(Site({"/a.zip": zipped(x__a_jpg=b"1")})) as site:
        url = f"{site.url}/a.zip"
        folder = fetch(url, tmp_path, "folder")
    assert fetch(url, tmp_path, "folder") == folder
    with pytest.raises(UserError, match="cannot be reached"):
        fetch(url, tmp_path, "csv")
    shutil.rmtree(folder.parent)
    with pytest.raises(UserError, match="cannot be reached"):
        fetch(url, tmp_path, "folder")


def test_many_at_once_fetch_once(site: Site, tmp_path: Path) -> None:
    content = site.files["/a.zip"] = zipped(x__a_jpg=NOISE)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetch(f"{site.url}/a.zip", tmp_path, "folder"), range(4)))
    assert len(folders) == 1
    assert site.bytes_of("/a.zip") == len(content)


def test_errors_of_the_web(site: Site, tmp_path: Path) -> None:
    secret = site.url.replace("http://", "http://user:pass@") + "/a.zip?signature=abc"
    for status, message in ((403, "answered 403"), (404, "does not exist")):
        site.status = status
        with pytest.raises(UserError, match=message) as error:
            fetch(secret, tmp_path, "folder")
        assert "pass" not in str(error.value)
        assert "signature" not in str(error.value)
    with pytest.raises(UserError, match="is no archive"):
        fetch(f"{site.url}/photos", tmp_path, "folder")
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch("gs://bucket/x", tmp_path, "folder")
    with pytest.raises(UserError, match="only a local folder"):
        open_dataset("folder", "https://host/a.zip")


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("https://u:p@host:1/a.zip?X-Amz-Signature=1#sha256=0") == "https://host:1/a.zip"
    assert shown("/data/a b#c?d") == "/data/a b#c?d"
    assert is_remote("s3://b/p")
    assert not is_remote("/data")
