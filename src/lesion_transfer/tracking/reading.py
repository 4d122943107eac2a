"""Questions to the tracking server, each answered in as few and as narrow requests as can be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow import entities as mlflow_entities
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from lesion_transfer.errors import UserError
from lesion_transfer.tracking.schema import COMPLETE, Tag

PAGE = 1000
IDS_PER_REQUEST = 1000  # MLflow parses a filter in time that grows with its length, to a limit


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What a reader needs of a run on the server."""

    id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_time: int
    experiment_id: str


def stored_run(run: mlflow_entities.Run) -> StoredRun:
    """Return what we read of MLflow's own run."""
    info, data = run.info, run.data
    return StoredRun(
        id=str(info.run_id),
        tags=data.tags,
        params=data.params,
        metrics=data.metrics,
        start_time=int(info.start_time),
        experiment_id=str(info.experiment_id),
    )


def run_of_model(client: MlflowClient, uri: str) -> StoredRun:
    """Return the run that made ``models:/name@alias``, ``models:/name/version`` or ``runs:/id/…``.

    Raises
    ------
    UserError
        There is none, or it is none of these.
    """
    kind, _, rest = uri.partition(":/")
    try:
        if kind == "runs":
            return stored_run(client.get_run(rest.partition("/")[0]))
        if "@" in rest:
            version = client.get_model_version_by_alias(*rest.rsplit("@", 1))
        else:
            version = client.get_model_version(*rest.rsplit("/", 1))
        return stored_run(client.get_run(str(version.run_id)))
    except (MlflowException, TypeError) as error:
        raise UserError(
            f"{uri} names no model that a run on {client.tracking_uri} has logged: {error}",
            expected="models:/<name>@<alias>, models:/<name>/<version> or runs:/<run id>",
        ) from error


def experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all active experiments."""
    ids: list[str] = []
    token = None
    while True:
        page = client.search_experiments(max_results=PAGE, page_token=token)
        ids += [str(experiment.experiment_id) for experiment in page]
        token = page.token
        if not token:
            return ids


def search(
    client: MlflowClient, experiment_ids: Sequence[str], tags: Mapping[str, str]
) -> Iterator[StoredRun]:
    """Yield the active runs that carry all these tags, oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [*experiment_ids],
            _carrying(tags),
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from map(stored_run, page)
        token = page.token
        if not token:
            return


def intact(
    client: MlflowClient, experiment_id: str, groups: Sequence[Collection[str]]
) -> list[bool]:
    """Return for each group of run ids whether all its runs are active and complete.

    Takes a request for every :data:`IDS_PER_REQUEST` runs and a few more for each group that is
    not intact, and reads one run of each: MLflow returns runs whole or not at all, with all their
    params, metrics and tags, and over thousands of runs that takes minutes.
    """
    answers: list[bool] = []
    for chunk in _chunks(groups):
        answers += _halving(client, experiment_id, chunk)
    return answers


def _chunks(groups: Iterable[Collection[str]]) -> Iterator[list[Collection[str]]]:
    chunk: list[Collection[str]] = []
    for group in groups:
        if chunk and sum(map(len, chunk)) + len(group) > IDS_PER_REQUEST:
            yield chunk
            chunk = []
        chunk.append(group)
    if chunk:
        yield chunk


def _halving(
    client: MlflowClient, experiment_id: str, groups: Sequence[Collection[str]]
) -> list[bool]:
    whole = _all_complete(client, experiment_id, {run_id for group in groups for run_id in group})
    if whole or len(groups) == 1:
        return [whole] * len(groups)
    middle = len(groups) // 2
    return [
        *_halving(client, experiment_id, groups[:middle]),
        *_halving(client, experiment_id, groups[middle:]),
    ]


def _all_complete(client: MlflowClient, experiment_id: str, run_ids: Collection[str]) -> bool:
    """Whether the search for these n runs gives n: it has an n-th result, and it is the last.

    A server that does not understand our page token does not answer so; then it is False.
    """
    if not run_ids:
        return True
    before = len(run_ids) - 1
    listed = ", ".join(_quoted(run_id) for run_id in sorted(run_ids))
    page = client.search_runs(
        [experiment_id],
        f"attributes.run_id IN ({listed}) and {_carrying({Tag.STATE: COMPLETE})}",
        max_results=1,
        page_token=SearchUtils.create_page_token(before).decode() if before else None,
    )
    return len(page) == 1 and not page.token


def _carrying(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = {_quoted(value)}" for name, value in tags.items())


def _quoted(value: str) -> str:
    """Return ``value`` as a string of MLflow's filter language, which has no escapes."""
    if "'" in value and '"' in value:
        raise UserError(
            f"{value!r} cannot be searched for",
            expected="a text with one kind of quotation marks at most",
        )
    return f'"{value}"' if "'" in value else f"'{value}'"
