"""Image stores on S3, by digest: built once, used by every machine.

=========================  ====================================================================
``<uri>/<digest>/<file>``  the files of the store with this digest, ``manifest.json`` last
``<uri>/names/<name>``     the digest of the store that a listing and preparation of this name gave
=========================  ====================================================================

What has been transferred is not transferred again: a stopped push or pull goes on. A pulled file
counts once its SHA-256 is the manifest's, and a store once it has all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lesion_transfer.data.build import alone
from lesion_transfer.data.store import (
    FORMAT,
    MANIFEST,
    ImageStore,
    describe_file,
    open_store,
    read_manifest,
)
from lesion_transfer.errors import UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TRANSFERS = 4
"""Files under way at once; boto3 divides each of them further."""


class _Remote:
    """A folder on S3; credentials, region and endpoint are boto3's own settings."""

    def __init__(self, uri: str) -> None:
        parts = urlparse(uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise UserError(f"store_uri={uri}", expected="s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        retries: Any = {"mode": "standard", "max_attempts": 5}
        self._client: S3Client = boto3.client("s3", config=Config(retries=retries))

    def key(self, *names: str) -> str:
        return "/".join(filter(None, (self._prefix, *names)))

    def read(self, key: str) -> bytes | None:
        """Return a small object; None: there is none."""
        try:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def has(self, key: str, stated: dict[str, Any]) -> bool:
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise
        sha256 = head["Metadata"].get("sha256")
        return (head["ContentLength"], sha256) == (stated["bytes"], stated["sha256"])

    def upload(self, path: Path, key: str, stated: dict[str, Any]) -> None:
        extra = {"Metadata": {"sha256": stated["sha256"]}, "ChecksumAlgorithm": "SHA256"}
        self._client.upload_file(str(path), self._bucket, key, ExtraArgs=extra)

    def download(self, key: str, path: Path) -> None:
        self._client.download_file(self._bucket, key, str(path))


@contextmanager
def _remote(uri: str) -> Iterator[_Remote]:
    """Open a folder on S3; what S3 refuses becomes an error that says what to do."""
    try:
        yield _Remote(uri)
    except (BotoCoreError, Boto3Error, ClientError) as error:
        raise UserError(
            f"store_uri={uri}: {error}",
            expected="s3://bucket/prefix that the current AWS settings may use",
            next_step="check the address, AWS_PROFILE and AWS_ENDPOINT_URL",
        ) from error


def push_store(store: ImageStore, uri: str) -> str:
    """Copy a store to ``uri`` (s3://bucket/prefix) if it is not there; return where it is there.

    Raises
    ------
    UserError
        ``uri`` is no such address, or S3 refuses.
    """
    with _remote(uri) as remote:
        manifest = (store.path / MANIFEST).read_bytes()
        key = remote.key(store.digest, MANIFEST)
        if remote.read(key) is None:

            def push(name: str) -> None:
                stated, target = store.manifest["files"][name], remote.key(store.digest, name)
                if not remote.has(target, stated):
                    remote.upload(store.path / name, target, stated)

            _each(push, store.manifest["files"])
            remote.write(key, manifest)
        name = remote.key("names", store.path.name)
        if remote.read(name) != store.digest.encode():  # who only reads may not write
            remote.write(name, store.digest.encode())
        return f"{remote.uri}/{store.digest}"


def find_store(uri: str, name: str, root: Path) -> ImageStore | None:
    """Pull the store of this name, as :func:`.build.store_name` gives it; None: there is none.

    Raises
    ------
    UserError
        ``uri`` is no such address, S3 refuses, or what it gives is damaged.
    """
    if (root / name).is_dir():
        return open_store(root / name)
    with _remote(uri) as remote:
        digest = remote.read(remote.key("names", name))
    return None if digest is None else pull_store(uri, digest.decode(), root, name)


def pull_store(uri: str, digest: str, root: Path, name: str | None = None) -> ImageStore:
    """Return the store with this digest, copied from ``uri`` to below ``root`` if it is not there.

    Parameters
    ----------
    name
        Of its folder; by default the digest.

    Raises
    ------
    UserError
        ``uri`` is no such address, has no such store, S3 refuses, or what it gives is damaged.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UserError(f"{digest!r} is no digest of an image store", expected="64 digits 0-9a-f")
    path = root / (name or digest)
    with _remote(uri) as remote, alone(root, path.name) as folder:
        if not path.is_dir():
            content = remote.read(remote.key(digest, MANIFEST))
            if content is None:
                raise UserError(
                    f"{remote.uri} has no image store {digest}",
                    next_step="run preprocess with this store_uri where the pictures are",
                )
            (folder / MANIFEST).write_bytes(content)
            manifest = _manifest(folder, digest, remote.uri)

            def pull(file: str) -> None:
                _pull(remote, remote.key(digest, file), folder / file, manifest["files"][file])

            _each(pull, manifest["files"])
            folder.rename(path)
    return open_store(path)


def _manifest(folder: Path, digest: str, uri: str) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder)
        if manifest["digest"] != digest:
            raise ValueError(f"it is that of {manifest['digest']}")
        return manifest
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        (folder / MANIFEST).unlink()
        raise UserError(
            f"{uri}/{digest}/{MANIFEST} cannot be used: {error}",
            expected=f"the manifest of an image store of format {FORMAT}",
            next_step="delete this folder on S3 and push the store again",
        ) from error


def _pull(remote: _Remote, key: str, path: Path, stated: dict[str, Any]) -> None:
    if path.is_file() and describe_file(path) == stated:
        return
    partial = path.with_name(f"{path.name}.partial")
    remote.download(key, partial)
    found = describe_file(partial)
    if found != stated:
        partial.unlink()
        raise UserError(
            f"{remote.uri}: {key} has SHA-256 {found['sha256']}, {found['bytes']} bytes",
            expected=f"SHA-256 {stated['sha256']}, {stated['bytes']} bytes, as its manifest says",
            next_step="run it again; if it comes again, delete the store on S3 and push it again",
        )
    partial.replace(path)


def _each(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        futures = [pool.submit(work, name) for name in names]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()
