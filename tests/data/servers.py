"""A web server on loopback that misbehaves as asked and counts what it sends, and what arrived."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Site:
    """What a server has and does.

    Attributes
    ----------
    files
        Content by path.
    cut
        The next answers to requests for content break off after this many bytes each.
    status
        Answers this to everything; 0: does its work.
    otherwise
        Answers this where it has no file.
    ranges, etags, sizes, heads
        Whether it knows ranges, says versions and sizes, and answers HEAD.
    headers
        More of them, with every file.
    sent
        For each answer with content: path, first byte, bytes sent.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    status: int = 0
    otherwise: int = 404
    body: bytes = b""
    ranges: bool = True
    etags: bool = True
    sizes: bool = True
    heads: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    url: str = ""

    def bytes_of(self, path: str) -> int:
        return sum(count for name, _, count in self.sent if name == path)


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Run the server until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, site)

        def do_HEAD(self) -> None:
            if site.heads:
                _answer(self, site)
            else:
                self.send_error(403)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def _answer_probe(handler: BaseHTTPRequestHandler, site: Site, content: bytes, etag: str) -> None:
    """Answer the question for size and version, which asks for the first byte."""
    handler.send_response(206 if site.ranges else 200)
    if site.ranges:
        handler.send_header("Content-Range", f"bytes 0-0/{len(content)}")
    if site.ranges or site.sizes:
        handler.send_header("Content-Length", str(1 if site.ranges else len(content)))
    if site.etags:
        handler.send_header("ETag", etag)
    handler.send_header("Connection", "close")
    handler.close_connection = True
    handler.end_headers()
    handler.wfile.write(content[:1])


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    path = urlsplit(handler.path).path
    content = site.files.get(path)
    if site.status or content is None:
        handler.send_response(site.status or site.otherwise)
        handler.send_header("Content-Length", str(len(site.body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(site.body)
        return
    etag = f'"{hashlib.sha1(content).hexdigest()}"'
    start = 0
    wanted = handler.headers.get("Range")
    if wanted == "bytes=0-0":
        _answer_probe(handler, site, content, etag)
        return
    if wanted and site.ranges and handler.headers.get("If-Range") in (None, etag):
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
    rest = content[start:]
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if site.sizes:
        handler.send_header("Content-Length", str(len(rest)))
    if site.etags:
        handler.send_header("ETag", etag)
    for name, value in site.headers.items():
        handler.send_header(name, value)
    handler.send_header("Last-Modified", "Fri, 01 Apr 2016 00:00:00 GMT")
    handler.send_header("Connection", "close")
    handler.close_connection = True
    handler.end_headers()
    if handler.command == "HEAD":
        return
    limit = site.cut.pop(0) if site.cut else len(rest)
    try:
        handler.wfile.write(rest[:limit])
        handler.wfile.flush()
    except OSError:
        return
    site.sent.append((path, start, min(limit, len(rest))))


def zipped(**members: bytes) -> bytes:
    """A ZIP; ``Data__a_jpg`` is the member ``Data/a.jpg``."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in members.items():
            folder, _, file = name.rpartition("__")
            archive.writestr(f"{folder}/{file}".strip("/").replace("_jpg", ".jpg"), value)
    return content.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
