"""Single files from a web server on loopback."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Site, serve

from lesion_transfer.data.web import fetch_web
from lesion_transfer.errors import UserError

CONTENT = os.urandom(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site(files={"/models/net.mat": CONTENT})) as running:
        yield running


def test_a_file_is_fetched_once_for_each_of_its_versions(site: Site, tmp_path: Path):
    url = f"{site.url}/models/net.mat?token=abc"
    path = fetch_web(url, tmp_path)
    assert path.name == "net.mat"
    assert path.read_bytes() == CONTENT
    assert fetch_web(url, tmp_path) == path
    assert site.bytes_of("/models/net.mat") == len(CONTENT)
    site.files["/models/net.mat"] = CONTENT[::-1]
    newer = fetch_web(url, tmp_path)
    assert newer.read_bytes() == CONTENT[::-1]
    assert path.read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_again(site: Site, tmp_path: Path):
    site.cut = [1000, 100_000]
    assert fetch_web(f"{site.url}/models/net.mat", tmp_path).read_bytes() == CONTENT


def test_with_its_checksum_it_is_used_without_the_server(site: Site, tmp_path: Path):
    url = f"{site.url}/models/net.mat#sha256={SHA}"
    path = fetch_web(url, tmp_path)
    site.status = 503
    assert fetch_web(url, tmp_path) == path


def test_a_file_of_another_checksum_is_refused(site: Site, tmp_path: Path):
    with pytest.raises(UserError, match="arrived damaged, twice: its SHA256 is"):
        fetch_web(f"{site.url}/models/net.mat#sha256={'0' * 64}", tmp_path)
    assert not list(tmp_path.rglob("net.mat"))


def test_what_has_no_version_is_fetched_every_time(site: Site, tmp_path: Path):
    site.etags = False  # nor does its answer to the first question say when it was changed
    url = f"{site.url}/models/net.mat"
    fetch_web(url, tmp_path)
    site.files["/models/net.mat"] = CONTENT[::-1]
    assert fetch_web(url, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/models/other.mat", 0, "/models/other.mat does not exist"),
        ("/models/net.mat", 401, "cannot be read: the server answered 401"),
        ("/", 0, "names no file"),
        ("/models/%2e%2e", 0, "names no file"),
    ],
)
def test_what_cannot_be_had_is_named(site: Site, tmp_path: Path, path: str, status: int, says: str):
    site.status = status
    with pytest.raises(UserError, match=says):
        fetch_web(f"{site.url}{path}", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there_is_named_without_what_is_secret(tmp_path: Path):
    with serve(Site()) as site:
        gone = site.url
    with pytest.raises(UserError, match="cannot be reached") as told:
        fetch_web(f"{gone}/net.mat?signature=secret", tmp_path)
    assert "secret" not in str(told.value)
