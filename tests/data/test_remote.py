"""Image stores on S3, against a real HTTP server on this machine."""

from pathlib import Path
from urllib.parse import urlparse

import boto3
import numpy as np
import pytest
from building import SMALL
from PIL import Image

from lesion_transfer.data import remote, shards
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store, store_name
from lesion_transfer.data.remote import find_store, pull_store, push_store
from lesion_transfer.data.store import ImageStore, open_store
from lesion_transfer.errors import UserError


@pytest.fixture
def uri(bucket: str) -> str:
    return f"{bucket}/some/stores"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setattr(shards, "_MOST_ROWS", 4)
    rng = np.random.default_rng(0)
    (tmp_path / "photos" / "nv").mkdir(parents=True)
    for i in range(11):
        picture = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
        picture.save(tmp_path / "photos" / "nv" / f"{i}.png")
    data = open_dataset("folder", str(tmp_path / "photos"))
    return build_store(data, SMALL, tmp_path / "here")


def _key(uri: str, *names: str) -> dict[str, str]:
    parts = urlparse(uri)
    return {"Bucket": parts.netloc, "Key": "/".join([parts.path.strip("/"), *names])}


def _count(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    calls: list[str] = []
    method = getattr(remote._Remote, name)

    def counted(self: object, *arguments: object) -> object:
        calls.append(str(arguments))
        return method(self, *arguments)

    monkeypatch.setattr(remote._Remote, name, counted)
    return calls


def test_a_store_goes_to_s3_and_back(store: ImageStore, uri: str, tmp_path: Path) -> None:
    assert push_store(store, uri) == f"{uri}/{store.digest}"
    pulled = pull_store(uri, store.digest, tmp_path / "there")
    assert pulled.path == tmp_path / "there" / store.digest
    assert pulled.manifest == store.manifest
    np.testing.assert_array_equal(np.asarray(pulled.images), np.asarray(store.images))
    assert pulled.index.equals(store.index)
    open_store(pulled.path, verify=True)


def test_a_store_is_found_by_what_it_was_built_from(
    store: ImageStore, uri: str, tmp_path: Path
) -> None:
    data = open_dataset("folder", str(tmp_path / "photos"))
    name = store_name(data, SMALL)
    assert find_store(uri, name, tmp_path / "there") is None
    push_store(store, uri)
    found = find_store(uri, name, tmp_path / "there")
    assert found is not None
    assert found.digest == store.digest
    for record in data.records:
        record.path.unlink()  # type: ignore[union-attr]
    assert build_store(data, SMALL, tmp_path / "there").path == found.path


def test_nothing_is_pushed_twice(
    store: ImageStore, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = _count(monkeypatch, "upload")
    push_store(store, uri)
    assert len(uploads) == len(store.manifest["files"]) == 8
    push_store(store, uri)
    assert len(uploads) == 8


def test_a_push_that_stopped_goes_on_and_is_not_seen_before(
    store: ImageStore, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = remote._Remote.upload
    monkeypatch.setattr(remote, "TRANSFERS", 1)

    def stop(self: remote._Remote, path: Path, *rest: object) -> None:
        if path.name == "images-00002.npy":
            raise KeyboardInterrupt
        upload(self, path, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(remote._Remote, "upload", stop)
        with pytest.raises(KeyboardInterrupt):
            push_store(store, uri)
    with pytest.raises(UserError, match="has no image store"):
        pull_store(uri, store.digest, tmp_path / "there")
    uploads = _count(monkeypatch, "upload")
    push_store(store, uri)
    assert 0 < len(uploads) < 8
    pull_store(uri, store.digest, tmp_path / "there")


def test_a_pull_that_stopped_goes_on_and_is_not_seen_before(
    store: ImageStore, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_store(store, uri)
    download = remote._Remote.download

    def stop(self: remote._Remote, key: str, path: Path) -> None:
        download(self, key, path)
        if "images-00001" in key:
            path.write_bytes(path.read_bytes()[:50])
            raise KeyboardInterrupt

    monkeypatch.setattr(remote, "TRANSFERS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(remote._Remote, "download", stop)
        with pytest.raises(KeyboardInterrupt):
            pull_store(uri, store.digest, tmp_path / "there")
    assert not (tmp_path / "there" / store.digest).exists()
    downloads = _count(monkeypatch, "download")
    pulled = pull_store(uri, store.digest, tmp_path / "there")
    assert 0 < len(downloads) < 8
    open_store(pulled.path, verify=True)


@pytest.mark.parametrize("name", ["images-00001.npy", "index.parquet"])
def test_a_wrong_checksum_is_refused(
    store: ImageStore, uri: str, tmp_path: Path, name: str
) -> None:
    push_store(store, uri)
    content = bytearray((store.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    boto3.client("s3").put_object(**_key(uri, store.digest, name), Body=bytes(content))
    with pytest.raises(UserError, match=f"{name} has SHA-256"):
        pull_store(uri, store.digest, tmp_path / "there")
    assert not (tmp_path / "there" / store.digest).exists()
    boto3.client("s3").upload_file(str(store.path / name), *_key(uri, store.digest, name).values())
    pull_store(uri, store.digest, tmp_path / "there")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 1}', b"[1]", b"\xff"])
def test_a_manifest_that_is_none_is_refused(
    store: ImageStore, uri: str, tmp_path: Path, content: bytes
) -> None:
    push_store(store, uri)
    boto3.client("s3").put_object(**_key(uri, store.digest, "manifest.json"), Body=content)
    with pytest.raises(UserError, match=r"manifest\.json cannot be used"):
        pull_store(uri, store.digest, tmp_path / "there")


def test_a_manifest_cannot_name_a_file_elsewhere(
    store: ImageStore, uri: str, tmp_path: Path
) -> None:
    push_store(store, uri)
    text = (store.path / "manifest.json").read_text().replace("index.parquet", "../../escaped")
    boto3.client("s3").put_object(**_key(uri, store.digest, "manifest.json"), Body=text.encode())
    with pytest.raises(UserError, match="names a file"):
        pull_store(uri, store.digest, tmp_path / "there")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("bad", ["http://host/a", "stores", "s3://", "file:///a"])
def test_an_address_that_is_none(store: ImageStore, bad: str) -> None:
    with pytest.raises(UserError, match="store_uri"):
        push_store(store, bad)


def test_a_missing_bucket(store: ImageStore, uri: str, tmp_path: Path) -> None:
    for ask in (
        lambda: push_store(store, "s3://no-such-bucket/a"),
        lambda: pull_store("s3://no-such-bucket/a", store.digest, tmp_path / "there"),
        lambda: find_store("s3://no-such-bucket/a", "name", tmp_path / "there"),
    ):
        with pytest.raises(UserError, match="NoSuchBucket"):
            ask()


def test_no_credentials(
    store: ImageStore, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    boto3.setup_default_session()
    with pytest.raises(UserError, match="credentials"):
        push_store(store, uri)
    boto3.DEFAULT_SESSION = None


def test_a_digest_that_is_none(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no digest"):
        pull_store(uri, "../../etc", tmp_path)
