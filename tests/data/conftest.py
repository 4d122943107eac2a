from collections.abc import Iterator

import pytest
from servers import Site, serve

from lesion_transfer.data import build, shards
from lesion_transfer.data import download as downloading


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "PAUSE", 0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site()) as running:
        yield running


@pytest.fixture
def tiny_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_MOST_ROWS", 5)
    monkeypatch.setattr(build, "CHUNK", 2)
