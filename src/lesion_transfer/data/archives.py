"""ZIP and TAR archives, unpacked without trusting them.

Nothing is written outside the folder; links, devices and encrypted members are refused, and so are
archives that swell beyond reason, judged by what comes out and not by what they promise.
"""

from __future__ import annotations

import calendar
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lesion_transfer.data.download import CHUNK, safe_path
from lesion_transfer.errors import UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeDecodeError,  # names that are not in the encoding they say
    NotImplementedError,  # a compression that zipfile does not know
    OSError,  # a broken gzip stream; names that are file and folder at once, or too long
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may become.

    Attributes
    ----------
    ratio
        Bytes for each of the archive's own. Pictures give 1, tables 20, bombs 1,000 and more.
    small
        Bytes that any archive may become.
    total
        Bytes that none may exceed.
    members
        Files and folders.
    """

    ratio: int = 100
    small: int = 256 << 20
    total: int = 4 << 40
    members: int = 5_000_000

    def bytes(self, archive_size: int) -> int:
        """Return what an archive of this size may become."""
        return min(self.total, max(self.small, self.ratio * archive_size))


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive; ``problem``: why it is no plain file."""

    name: str
    modified: float
    open: Callable[[], IO[bytes]]
    problem: str = ""


def is_archive(name: str) -> bool:
    """Whether a file of this name can be unpacked."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """Return an archive's name without its suffix."""
    lower = name.lower()
    suffix = max((s for s in SUFFIXES if lower.endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]


def unpack(
    archive: Path,
    folder: Path,
    limits: Limits = Limits(),
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Unpack ``archive`` into ``folder``, which may hold part of its files after an error.

    What macOS adds (``__MACOSX``, ``.DS_Store``) is left out. Files keep their date.

    Parameters
    ----------
    advance
        Called with the bytes written.

    Raises
    ------
    UserError
        It is damaged, or holds something that is not safe to unpack.
    """
    allowed, written, count = limits.bytes(archive.stat().st_size), 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(archive) as members:
        for member in members:
            count += 1
            if count > limits.members:
                raise _refused(archive, f"it has more than {limits.members} members")
            path = safe_path(member.name)
            if path is None:
                raise _refused(archive, f"its member {member.name!r} leads out of the folder")
            if member.problem:
                raise _refused(archive, f"its member {member.name!r} is {member.problem}")
            if path.parts[0] == "__MACOSX" or path.name == ".DS_Store":
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("wb") as content:
                while chunk := source.read(CHUNK):
                    written += len(chunk)
                    if written > allowed:
                        raise _refused(archive, f"it swells to more than {allowed >> 20} MB")
                    content.write(chunk)
                    advance(len(chunk))
            os.utime(target, (member.modified, member.modified))


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    """Give the archive's files; whatever shows that it is damaged is a :class:`UserError`."""
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                needed = sum(info.file_size for info in opened.infolist())
                require_room(archive.name, archive.parent, needed)
                yield _zip_members(opened)
        else:
            with tarfile.open(archive) as tar:
                yield _tar_members(tar)
    except _DAMAGED as error:
        raise UserError(
            f"{archive.name} cannot be unpacked: {str(error) or type(error).__name__}",
            expected=f"a whole archive ({', '.join(SUFFIXES)}), and room in {archive.parent}",
            next_step="run the same command again; if that does not help, the archive is damaged "
            "at its source",
        ) from error


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        problem = "encrypted" if info.flag_bits & 1 else ""
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            problem = "a link or a device"

        def opener(info: zipfile.ZipInfo = info) -> IO[bytes]:
            return archive.open(info)

        yield _Member(info.filename, _seconds(info), opener, problem)


def _seconds(info: zipfile.ZipInfo) -> float:
    """Return a member's date, which has no time zone, as if in UTC: the same everywhere."""
    try:
        return calendar.timegm(info.date_time)
    except ValueError:  # no date, or none that exists
        return calendar.timegm((1980, 1, 1, 0, 0, 0))


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if info.isdir():
            continue

        def opener(info: tarfile.TarInfo = info) -> IO[bytes]:
            content = archive.extractfile(info)
            assert content is not None  # it is a plain file
            return content

        yield _Member(
            info.name, max(info.mtime, 0), opener, "" if info.isfile() else "a link or a device"
        )


def require_room(what: str, folder: Path, needed: int) -> None:
    """See that a folder's disk has room for so many bytes.

    Raises
    ------
    UserError
        It has not; the message says how much it has.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs {needed / 1e9:.3g} GB in {folder}, where {free / 1e9:.3g} GB are free",
            next_step="make room, or choose another folder with cache=<path>",
        )


def _refused(archive: Path, reason: str) -> UserError:
    return UserError(
        f"{archive.name} is not safe to unpack: {reason}",
        expected="an archive of plain files with relative names",
        next_step="get it from the data set's owner; if you trust it, unpack it yourself and give "
        "the folder as data_root",
    )
