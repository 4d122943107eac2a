"""Files on S3: a bucket's listing, and objects fetched whole and checked.

Credentials, region and endpoint are boto3's own settings (``AWS_PROFILE``, ``AWS_ENDPOINT_URL``,
…). Where there are no credentials, or where they may not read a bucket, it is asked without: public
buckets answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from lesion_transfer.data.download import CHUNK, RemoteFile, checksum_mismatch, download
from lesion_transfer.data.s3_errors import is_denied, is_missing, translated
from lesion_transfer.errors import UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bucket:
    """The objects of a bucket below a prefix, as a :class:`~.download.Remote`."""

    name: str
    prefix: str
    client: S3Client

    @property
    def uri(self) -> str:
        """Its address."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def files(self) -> list[RemoteFile]:
        """Return the objects below the prefix, with their names below it."""
        below = f"{self.prefix.rstrip('/')}/" if self.prefix else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=below
        )
        return [
            self._file(entry["Key"], entry["Key"].removeprefix(below), entry)
            for page in pages
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")  # what consoles create as a folder
        ]

    def find(self, names: Sequence[str]) -> list[RemoteFile]:
        """Return those of ``names`` that are there.

        Where listing is not allowed, S3 says of what is not there that it is denied.
        """
        found: list[RemoteFile] = []
        refused: ClientError | None = None
        for name in names:
            key = "/".join(filter(None, (self.prefix.rstrip("/"), name)))
            try:
                entry = self.client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if not is_missing(error) and not is_denied(error):
                    raise
                refused = refused or (error if is_denied(error) else None)
            else:
                found.append(self._file(key, name, {**entry, "Size": entry["ContentLength"]}))
        if refused is not None and not found:
            raise refused
        return found

    def read(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """See :meth:`~.download.Remote.read`; the object may not change between two attempts."""
        with translated(file.uri, transfer=True):
            body = self.client.get_object(
                Bucket=self.name,
                Key=file.address,
                Range=f"bytes={start}-",
                IfMatch=f'"{file.version}"',
            )["Body"]

        def chunks() -> Iterator[bytes]:
            with translated(file.uri, transfer=True):
                yield from body.iter_chunks(CHUNK)

        return start, chunks()

    def mismatch(self, file: RemoteFile, path: Path) -> str:
        """Compare the content with the ETag, which is an MD5 or, of uploads in parts, one of MD5s.

        Objects under a KMS key have other ETags; TLS and their size must do.
        """
        if len(file.version) < 32:
            return ""
        if "-" not in file.version:
            problem = checksum_mismatch(path, f"md5:{file.version}")
        else:
            with translated(file.uri):
                first = self.client.head_object(Bucket=self.name, Key=file.address, PartNumber=1)
            found = etag_of_parts(path, first["ContentLength"])
            problem = "" if found == file.version else f"its ETag is {found}, not {file.version}"
        if problem:
            with translated(file.uri):
                head = self.client.head_object(Bucket=self.name, Key=file.address)
            if head.get("ServerSideEncryption", "AES256") != "AES256":
                return ""
        return problem

    def _file(self, key: str, name: str, entry: Any) -> RemoteFile:
        return RemoteFile(
            name=name,
            uri=f"s3://{self.name}/{key}",
            address=key,
            size=entry["Size"],
            version=entry["ETag"].strip('"'),
            modified=entry["LastModified"].timestamp(),
        )


def open_bucket(uri: str, names: Sequence[str] = ()) -> tuple[Bucket, list[RemoteFile]]:
    """Return the bucket of ``s3://bucket/prefix`` and the files below the prefix.

    Parameters
    ----------
    names
        What to look for where the bucket does not allow to be listed.

    Raises
    ------
    UserError
        The bucket does not exist, may not be read or cannot be reached.
    """

    def ask(client: S3Client) -> tuple[Bucket, list[RemoteFile]]:
        bucket = Bucket(*_split(uri), client)
        try:
            return bucket, bucket.files()
        except ClientError as error:
            if not is_denied(error) or not names:
                raise
            return bucket, bucket.find(names)

    return _first_allowed(uri, ask)


def fetch_s3(uri: str, folder: Path) -> Path:
    """Return a local copy of the object ``s3://bucket/key``, kept in ``folder`` by its ETag.

    Raises
    ------
    UserError
        The object cannot be read; the message carries S3's reason.
    """

    def find(client: S3Client) -> tuple[Bucket, list[RemoteFile]]:
        name, key = _split(uri)
        bucket = Bucket(name, "", client)
        return bucket, bucket.find([key])

    bucket, files = _first_allowed(uri, find)
    if not files:
        raise UserError(
            f"{uri} does not exist",
            expected="s3://bucket/key of an object",
            next_step="check the address: upper and lower case differ",
        )
    (file,) = files
    identity = hashlib.sha256(f"{uri} {file.version}".encode()).hexdigest()[:16]
    local = folder / identity / Path(file.address).name
    if not local.exists():
        download(bucket, file, local)
    return local


def etag_of_parts(path: Path, part_size: int) -> str:
    """Return the ETag of a file uploaded in parts of ``part_size`` bytes: the MD5 of their MD5s."""
    digests = []
    with path.open("rb") as content:
        while part := content.read(part_size):
            digests.append(hashlib.md5(part, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(digests)}"


def _split(uri: str) -> tuple[str, str]:
    parts = urlparse(uri)
    if not parts.netloc:
        raise UserError(f"{uri} names no bucket", expected="s3://bucket/prefix")
    return parts.netloc, parts.path.lstrip("/")


def _first_allowed(uri: str, ask: Callable[[S3Client], _T]) -> _T:
    """Ask with the credentials there are; where they do not do, without any."""
    with translated(uri):
        session = boto3.Session()
        refused: ClientError | None = None
        for signed in (True, False) if session.get_credentials() else (False,):
            try:
                return ask(_client(session, signed))
            except ClientError as error:
                if not is_denied(error):
                    raise
                refused = refused or error
        assert refused is not None
        raise refused


def _client(session: boto3.Session, signed: bool) -> S3Client:
    return session.client(
        "s3",
        config=Config(
            signature_version=None if signed else UNSIGNED,
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=32,
            # Whole files are compared with their ETags; a range has no checksum of its own.
            response_checksum_validation="when_required",
        ),
    )
