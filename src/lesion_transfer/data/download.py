"""One file from far away: resumed where it broke off, checked, and whole or not there.

What arrives is kept in a hidden ``.part`` file whose name follows from the file's version, so the
next attempt, of this process or a later one, goes on at its end; a file that has changed since
starts anew. Only a file of the promised size and checksum gets its name.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from lesion_transfer.errors import UserError
from lesion_transfer.study import digest

CHUNK = 1 << 20
ATTEMPTS = 6
"""Times in a row that a transfer may bring nothing new before it is given up."""
PAUSE = 0.5
"""Seconds before the second attempt; they double with each."""


class TransferError(Exception):
    """A transfer broke off, or could not start; trying again may help."""


class UnreachableError(UserError):
    """No answer came from where the files are."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that can be fetched.

    Attributes
    ----------
    name
        Its path below the folder it is fetched into, with ``/``.
    uri
        Its address, for messages: without user, password or signature.
    address
        What its :class:`Remote` knows it by.
    size
        Bytes; None where the server does not say.
    version
        Changes when its content does (ETag, date of change); empty where nothing tells.
    checksum
        ``md5:<hex>`` or ``sha256:<hex>``; empty where there is none.
    modified
        Seconds since 1970; None: not known.
    """

    name: str
    uri: str
    address: str
    size: int | None
    version: str = ""
    checksum: str = ""
    modified: float | None = None


class Remote(Protocol):
    """Where files are."""

    def read(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """Return the bytes from ``start``, or an earlier place, and that place.

        Raises
        ------
        TransferError
            At once or while reading: the connection failed.
        UserError
            The file is not to be had.
        """

    def mismatch(self, file: RemoteFile, path: Path) -> str:
        """Say how the content of ``path`` differs from what was promised; nothing if it is right.

        Its size has been compared.
        """


def download(
    remote: Remote,
    file: RemoteFile,
    path: Path,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Fetch ``file`` to ``path``, continuing an earlier attempt.

    Parameters
    ----------
    advance
        Called with the bytes gained; a negative number where some must be fetched again.

    Raises
    ------
    UserError
        It cannot be had, the connection fails too often, or twice other bytes came than promised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{digest(file.version, file.size)[:12]}.part")
    for _ in range(2):
        _bring(remote, file, part, advance)
        problem = _mismatch(remote, file, part)
        if not problem:
            break
        advance(-part.stat().st_size)
        part.unlink()
    else:
        raise UserError(
            f"{file.uri} arrived damaged, twice: {problem}",
            expected="the bytes that its size and checksum promise",
            next_step="compare the file with its source: it was damaged there, or on the way",
        )
    if file.modified is not None:
        os.utime(part, (file.modified, file.modified))
    part.replace(path)


def checksum_mismatch(path: Path, checksum: str) -> str:
    """Say how a file differs from its ``algorithm:hex``; nothing if it is right."""
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as content:
        found = hashlib.file_digest(
            content, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()
    return "" if found == expected else f"its {algorithm.upper()} is {found}, not {expected}"


def safe_path(name: str) -> PurePosixPath | None:
    """Return a name from outside as a relative path; None where it could lead out of its folder.

    Refused: absolute paths, drives, ``..``, back slashes (separators on one system, part of the
    name on another), control characters.
    """
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or not path.parts
    if unsafe or "\\" in name or ":" in path.parts[0] or any(ord(c) < 32 for c in name):
        return None
    return path


def _bring(
    remote: Remote,
    file: RemoteFile,
    part: Path,
    advance: Callable[[int], None],
) -> None:
    """Fill ``part`` until the file has come to its end."""
    part.touch()
    advance(part.stat().st_size)
    failures = 0
    while True:
        have = part.stat().st_size
        if file.size is not None and have >= file.size:
            return
        try:
            if _append(remote, file, part, have, advance):
                return
            raise TransferError("the connection was closed early")
        except TransferError as error:
            failures = 1 if part.stat().st_size > have else failures + 1
            if failures >= ATTEMPTS:
                raise UnreachableError(
                    f"{file.uri} cannot be fetched: {error}",
                    expected="a connection that lasts",
                    next_step="run the same command again: it continues where this stopped",
                ) from error
            time.sleep(PAUSE * 2 ** (failures - 1))


def _append(
    remote: Remote, file: RemoteFile, part: Path, have: int, advance: Callable[[int], None]
) -> bool:
    """Append what comes now; whether that was all."""
    start, chunks = remote.read(file, have)
    if start > have:
        raise TransferError(f"the server went on at byte {start} instead of {have}")
    with part.open("r+b") as content:
        content.truncate(start)
        content.seek(start)
        advance(start - have)
        for chunk in chunks:
            content.write(chunk)
            advance(len(chunk))
            if file.size is not None and content.tell() > file.size:
                return True  # more than was promised: the check of the size says so
        return file.size is None or content.tell() == file.size


def _mismatch(remote: Remote, file: RemoteFile, part: Path) -> str:
    size = part.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size} bytes, not {file.size}"
    return remote.mismatch(file, part)
