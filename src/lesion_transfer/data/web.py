"""Files on web servers, with ranges where a server knows them and checksums where it gives any.

An address can end in the file's checksum, as for pip: ``https://host/set.zip#sha256=<hex>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lesion_transfer.data.download import (
    RemoteFile,
    TransferError,
    UnreachableError,
    checksum_mismatch,
    download,
    safe_path,
)
from lesion_transfer.errors import UserError
from lesion_transfer.study import digest

_TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
_CHUNK = 1 << 16  # what urllib3 has of a chunk when a connection breaks is lost
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class Web:
    """Web servers, as a :class:`~.download.Remote`."""

    def read(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """See :meth:`~.download.Remote.read`."""
        headers = {}
        if start and file.version:  # without a version nobody knows whether the rest fits
            headers = {"Range": f"bytes={start}-", "If-Range": file.version}
        try:
            answer = _get(file.address, headers)
        except requests.RequestException as error:
            raise TransferError(_reason(error)) from error
        if answer.status_code in _BUSY:
            answer.close()
            raise TransferError(f"the server answered {answer.status_code} {answer.reason}")
        if not answer.ok:
            answer.close()
            raise _refused(file.uri, answer)
        begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        partial = answer.status_code == requests.codes.partial_content and begin

        def chunks() -> Iterator[bytes]:
            with answer:
                try:
                    yield from answer.iter_content(_CHUNK)
                except requests.RequestException as error:
                    raise TransferError(_reason(error)) from error

        return (int(begin[1]) if partial and begin else 0), chunks()

    def mismatch(self, file: RemoteFile, path: Path) -> str:
        """Compare the content with the checksum, if one is known."""
        return checksum_mismatch(path, file.checksum) if file.checksum else ""


def open_web(url: str, names: Sequence[str] = ()) -> tuple[Web, list[RemoteFile]]:
    """Return the file at ``url``; or, where that is a folder, those of ``names`` it has.

    Raises
    ------
    UserError
        The server cannot be reached, or has no such file.
    """
    parts = urlsplit(url)
    if PurePosixPath(parts.path).suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"):
        file = _probe(url)
        if file is None:
            raise UserError(f"{shown(url)} does not exist", next_step="check the address")
        return Web(), [file]
    if not names:
        raise UserError(
            f"data_root={shown(url)} is no archive, and web servers do not list their folders",
            expected="the address of a .zip or .tar.gz, or s3://bucket/prefix",
        )
    folder = parts.path.rstrip("/")
    found = [_probe(urlunsplit(parts._replace(path=f"{folder}/{name}"))) for name in names]
    return Web(), [file for file in found if file is not None]


def fetch_web(url: str, folder: Path) -> Path:
    """Return a local copy of the file at ``url``, kept in ``folder`` by its version.

    An address with a checksum is asked once; a file whose server says no version, every time.

    Raises
    ------
    UserError
        There is no such file, it cannot be read, or it is not the one of the checksum.
    """
    name = safe_path(PurePosixPath(unquote(urlsplit(url).path)).name)
    if name is None:
        raise UserError(f"{shown(url)} names no file", expected="the address of a file")
    checksum = _asked_checksum(url)
    local = folder / digest(checksum)[:16] / name
    if checksum and local.exists():
        return local
    file = _probe(url)
    if file is None:
        raise UserError(f"{shown(url)} does not exist", next_step="check the address")
    if not checksum:
        local = folder / digest(url, file.version, file.size)[:16] / name
    if not (file.version and local.exists()):
        download(Web(), file, local)
    return local


def shown(uri: str) -> str:
    """Return an address without what may be secret: user, password, query and fragment."""
    if "://" not in uri:  # a path
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _probe(url: str) -> RemoteFile | None:
    """Ask for a file's size and version; None where there is no such file.

    By a GET of the first byte: some servers, and signed addresses, refuse HEAD.
    """
    with _reaching(url), requests.Session() as session:
        retries = Retry(
            4, connect=1, backoff_factor=0.5, status_forcelist=_BUSY, raise_on_status=False
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries))
        answer = _get(url, {"Range": "bytes=0-0"}, session)
    if answer.status_code == requests.codes.not_found:
        return None
    if not answer.ok and answer.status_code != requests.codes.range_not_satisfiable:
        raise _refused(shown(url), answer)
    headers, parts = answer.headers, urlsplit(url)
    size = headers.get("Content-Range", headers.get("Content-Length", "")).rpartition("/")[2]
    etag = headers.get("ETag", "")
    modified = headers.get("Last-Modified", "")
    return RemoteFile(
        name=PurePosixPath(unquote(parts.path)).name,
        uri=shown(url),
        address=url,
        size=int(size) if size.isdecimal() else None,
        version=etag if etag and not etag.startswith("W/") else modified,
        checksum=_asked_checksum(url) or _own_checksum(headers),
        modified=_seconds(modified),
    )


def _asked_checksum(url: str) -> str:
    """Return the checksum in the address as ``algorithm:hex``."""
    fragment = urlsplit(url).fragment
    algorithm, _, value = fragment.partition("=")
    digits = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
    if fragment and not re.fullmatch(rf"[0-9a-fA-F]{{{digits.get(algorithm, 0)}}}", value):
        raise UserError(
            f"{shown(url)}#{fragment}: the part after # is no checksum",
            expected=f"#sha256=<64 hexadecimal digits>, or one of {', '.join(digits)}",
        )
    return f"{algorithm}:{value.lower()}" if fragment else ""


def _own_checksum(headers: requests.structures.CaseInsensitiveDict[str]) -> str:
    """Return S3's checksum: its ETags are MD5s, unless a key of the user's own encrypts them."""
    etag = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("ETag", ""))
    s3 = headers.get("Server", "") == "AmazonS3"
    plain = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    return f"md5:{etag[1]}" if etag and s3 and plain else ""


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _get(
    url: str, headers: dict[str, str], session: requests.Session | None = None
) -> requests.Response:
    # "identity": sizes and ranges are the file's own, not those of a compressed rendition.
    return (session or requests).get(
        urlunsplit(urlsplit(url)._replace(fragment="")),
        headers={"Accept-Encoding": "identity", **headers},
        stream=True,
        timeout=_TIMEOUT,
    )


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    try:
        yield
    except requests.ConnectionError as error:
        raise UnreachableError(
            f"{shown(url)} cannot be reached: {_reason(error)}",
            next_step="check the address, the connection and the proxy",
        ) from error
    except requests.RequestException as error:
        raise UserError(
            f"{shown(url)} cannot be read: {_reason(error)}", next_step="check the address"
        ) from error


def _reason(error: requests.RequestException) -> str:
    """Return what happened, without the address: it may hold a signature."""
    cause = error.__context__ or error
    return type(cause).__name__


def _refused(uri: str, answer: requests.Response) -> UserError:
    return UserError(
        f"{uri} cannot be read: the server answered {answer.status_code} {answer.reason}",
        expected="an address that may be read without logging in",
        next_step="download it in a browser and give its path (an archive's folder, unpacked)",
    )
