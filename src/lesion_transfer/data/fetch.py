"""A remote ``data_root`` as a local folder: fetched once, then only compared with its source.

Below the folder of downloads, each address has its own place::

    <name>-<digest>/<last part of the address>/…   files; what archives held, not the archives
    <name>-<digest>/fetched.jsonl                  a line for each file that is there and checked

The lines are written one by one, so that a killed fetch goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lesion_transfer.data.archives import is_archive, require_room, stem, unpack
from lesion_transfer.data.download import (
    Remote,
    RemoteFile,
    UnreachableError,
    download,
    safe_path,
)
from lesion_transfer.data.s3 import open_bucket
from lesion_transfer.data.web import open_web, shown
from lesion_transfer.errors import UserError
from lesion_transfer.study import digest

WORKERS = 8
_MB = 1_000_000

Progress = Callable[[int, int], None]
"""Called with the megabytes done and those of all."""


def is_remote(data_root: str) -> bool:
    """Whether a ``data_root`` is an address and not a path."""
    return "://" in data_root


def fetch(
    uri: str,
    downloads: Path,
    dataset: str,
    names: Sequence[str] = (),
    others: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Return a folder with the files at ``uri``, archives unpacked.

    What is there and unchanged is not fetched again; when the source cannot be reached, what was
    fetched completely is used as it is. Any number of processes may ask at once: one fetches, the
    others wait.

    Parameters
    ----------
    uri
        ``s3://bucket/prefix``, or the ``https://`` address of an archive or of a folder that has
        files called ``names``.
    downloads
        Where each address has its place.
    dataset
        Name of the data set: where the source has a folder of this name, only that is fetched.
    names
        Official names of the files wanted; empty: all.
    others
        Further names that are wanted where the source lists its files.

    Raises
    ------
    UserError
        The source cannot be read, holds nothing of the data set, or sends something unsafe.
    """
    address = shown(uri)
    leaf = PurePosixPath(urlsplit(address).path).name or urlsplit(address).netloc
    place = downloads / f"{dataset}-{digest(address)[:12]}"
    folder = place / (stem(leaf) or dataset)
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place), _Journal.open(place / "fetched.jsonl") as journal:
        try:
            remote, files = _open(uri, names)
        except UnreachableError:
            if not (journal.complete and folder.is_dir()):
                raise
            return _content(folder)
        files = _relevant(files, address, dataset, [*names, *others])
        missing = [file for file in files if not journal.has(file, folder)]
        if missing:
            _fetch_all(_Fetch(remote, folder, place, journal, _Meter(progress, missing)), missing)
        journal.finish()
    return _content(folder)


def _open(uri: str, names: Sequence[str]) -> tuple[Remote, list[RemoteFile]]:
    match urlsplit(uri).scheme.lower():
        case "s3":
            return open_bucket(uri, names)
        case "http" | "https":
            return open_web(uri, names)
    raise UserError(
        f"data_root={shown(uri)} cannot be fetched",
        expected="a folder, s3://bucket/prefix, or the https:// address of a .zip or .tar.gz",
    )


def _relevant(
    files: Sequence[RemoteFile], address: str, dataset: str, names: Sequence[str]
) -> list[RemoteFile]:
    """Return the data set's files: of its own folder where it has one, of its names if known."""
    for file in files:
        if safe_path(file.name) is None:
            raise UserError(
                f"{file.uri}: its name leads out of the folder it would be fetched into",
                expected="relative names without ..",
            )
    own = [file for file in files if file.name.startswith(f"{dataset}/")]
    chosen = own or list(files)
    if names:
        stems = {PurePosixPath(name).stem for name in names}
        level = 1 if own else 0
        chosen = [
            file
            for file in chosen
            if PurePosixPath(PurePosixPath(file.name).parts[level]).stem in stems
        ]
    if not chosen:
        there = ", ".join(sorted({PurePosixPath(file.name).parts[0] for file in files})[:8])
        raise UserError(
            f"{dataset}: {address} holds none of its files; it has {there or 'nothing'}",
            expected=", ".join(names) or "files below this address",
            next_step="check the address: upper and lower case differ",
        )
    return chosen


@dataclass(frozen=True)
class _Fetch:
    """What the fetching of one file needs."""

    remote: Remote
    folder: Path
    place: Path
    journal: _Journal
    meter: _Meter

    def __call__(self, file: RemoteFile) -> None:
        """Fetch a file; unpack and remove it if it is an archive; note that it is there."""
        target = self.folder / file.name
        if not is_archive(file.name):
            download(self.remote, file, target, self.meter.advance)
            self.journal.add(file)
            return
        version = digest(file.version, file.size)[:12]  # it may have changed since
        archive = self.place / "archives" / version / file.name
        if not archive.is_file():  # fetched and checked, but not unpacked to the end
            download(self.remote, file, archive, self.meter.advance)
        unpacked = self.place / "unpacked" / digest(file.name)[:12]
        shutil.rmtree(unpacked, ignore_errors=True)
        unpack(archive, unpacked, advance=self.meter.advance)
        own = stem(target.name)
        tops = {path.name for path in unpacked.iterdir()}
        # Pictures without a folder of their own would lie among those of other archives.
        together = len(tops) <= 1 or own in tops
        _merge(unpacked, target.parent if together else target.parent / own)
        self.journal.add(file)
        archive.unlink()


def _fetch_all(fetch_one: _Fetch, files: Sequence[RemoteFile]) -> None:
    needed = sum(file.size or 0 for file in files)
    require_room(f"the download of {len(files)} files", fetch_one.place, needed)
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(fetch_one, file) for file in files]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            fetch_one.meter.stop()  # what runs ends at its next chunk, and can be continued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    fetch_one.meter.finish()
    for scratch in ("archives", "unpacked"):
        shutil.rmtree(fetch_one.place / scratch, ignore_errors=True)


class _StoppedError(Exception):
    """Another file failed, or the user interrupted."""


class _Meter:
    """Counts the bytes of all threads; an archive's count twice, fetched and unpacked."""

    def __init__(self, progress: Progress | None, files: Sequence[RemoteFile]) -> None:
        self._progress = progress
        self._total = sum((file.size or 0) * (2 if is_archive(file.name) else 1) for file in files)
        self._done = 0
        self._stopped = False
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        if self._stopped:
            raise _StoppedError
        with self._lock:
            before, self._done = self._done, self._done + count
            if self._progress is not None and before // _MB != self._done // _MB:
                total = max(self._total, self._done)
                self._progress(self._done // _MB, -(-total // _MB))

    def stop(self) -> None:
        self._stopped = True

    def finish(self) -> None:
        if self._progress is not None:
            total = -(-self._total // _MB)
            self._progress(total, total)


@dataclass
class _Journal:
    """What has been fetched, line by line in a file; a line cut short by a crash does not count."""

    path: Path
    fetched: dict[str, list[object]] = field(default_factory=dict)
    complete: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[_Journal]:
        journal = cls(path)
        text = path.read_text("utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as lines:
                lines.write("\n")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            journal.complete = entry is None
            if entry is not None:
                name, *identity = entry
                journal.fetched[name] = identity
        yield journal

    def has(self, file: RemoteFile, folder: Path) -> bool:
        if self.fetched.get(file.name) != [file.size, file.version]:
            return False
        if is_archive(file.name):
            return folder.is_dir()
        path = folder / file.name
        return path.is_file() and path.stat().st_size == file.size

    def add(self, file: RemoteFile) -> None:
        self._write([file.name, file.size, file.version])
        self.fetched[file.name] = [file.size, file.version]

    def finish(self) -> None:
        if not self.complete:
            self._write(None)

    def _write(self, entry: list[object] | None) -> None:
        with self._lock, self.path.open("a", encoding="utf-8") as lines:
            lines.write(f"{json.dumps(entry)}\n")
            self.complete = entry is None


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait until no other process fetches into this place; a killed one's lock is gone with it."""
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _merge(source: Path, target: Path) -> None:
    """Move ``source`` to ``target``; folders that are in both become one."""
    if source.is_dir() and target.is_dir():
        for child in source.iterdir():
            _merge(child, target / child.name)
        source.rmdir()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _content(folder: Path) -> Path:
    """Return the folder that holds the data set: the only one in ``folder``, where that is all."""
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        (folder,) = inside
    return folder
