import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from lesion_transfer.errors import UserError
from lesion_transfer.tracking import Kind, Tag, Tracker, Unit
from lesion_transfer.tracking.schema import SYSTEM_PREFIX


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tracking database and its artifacts; each test has its own experiment."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # artifacts go to ./mlruns
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        yield folder


@pytest.fixture
def environment(server: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{server}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": request.node.name,
    }


@pytest.fixture
def tracker(environment: dict[str, str], server: Path, monkeypatch) -> Tracker:
    monkeypatch.chdir(server)
    return Tracker(environment)


@pytest.fixture
def client(environment: dict[str, str]) -> MlflowClient:
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])


def unit(key: str = "k", kind: Kind = Kind.FEATURES, **values) -> Unit:
    return Unit(kind=kind, key=key, name=f"run {key}", description="what it is", **values)


def stored_runs(tracker: Tracker, client: MlflowClient) -> list:
    return list(client.search_runs([tracker.experiment_id]))


def artifact_folder(client: MlflowClient, run_id: str) -> Path:
    return Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))


# --- a run's life --------------------------------------------------------------------------------


def test_a_complete_run_is_found_with_all_it_was_given(tracker: Tracker, tmp_path: Path):
    given = unit(identity={"design": "native", "fold": "1x1"}, params={"svm.C": "1"})
    with tracker.open(given) as run:
        assert tracker.find("k") is None
        run.metrics({"auc": 0.75})
        run.text("hello", "folder/note.txt")
        run.complete()
    found = tracker.find("k")
    assert found is not None
    assert found.id == run.id
    assert found.metrics["auc"] == 0.75
    assert found.params == {"design": "native", "fold": "1x1", "svm.C": "1"}
    assert found.tags["design"] == "native"
    assert found.tags[Tag.KIND] == "features"
    assert found.tags["mlflow.runName"] == "run k"
    assert found.tags["mlflow.note.content"] == "what it is"
    assert tracker.artifact(run.id, "folder/note.txt").read_text() == "hello"
    assert tracker.has_artifact(run.id, "folder/note.txt")
    assert not tracker.has_artifact(run.id, "note.txt")


def test_only_complete_runs_are_found(tracker: Tracker, client: MlflowClient):
    with tracker.open(unit()) as run:
        run.text("x", "x.txt")
    assert client.get_run(run.id).info.status == "FINISHED"
    assert client.get_run(run.id).data.tags[Tag.STATE] == "started"
    assert tracker.find("k") is None
    assert tracker.find("other") is None


def test_an_error_fails_the_run_and_says_why(tracker: Tracker, client: MlflowClient):
    run = tracker.open(unit())
    with pytest.raises(ZeroDivisionError), run:  # noqa: PT012
        run.metrics({"before": 1})
        _ = 1 / 0
    stored = client.get_run(run.id)
    assert stored.info.status == "FAILED"
    assert stored.data.tags[Tag.ERROR] == "ZeroDivisionError: division by zero"
    assert stored.data.metrics["before"] == 1
    assert tracker.find("k") is None


def test_an_endless_error_still_ends_the_run(tracker: Tracker, client: MlflowClient):
    with pytest.raises(ValueError, match="x"), tracker.open(unit()) as run:
        raise ValueError("x" * 20_000)
    assert client.get_run(run.id).info.status == "FAILED"
    assert client.get_run(run.id).data.tags[Tag.ERROR].startswith("ValueError: xxx")


def test_an_interrupted_run_is_killed(tracker: Tracker, client: MlflowClient):
    with pytest.raises(KeyboardInterrupt), tracker.open(unit()) as run:
        raise KeyboardInterrupt
    assert client.get_run(run.id).info.status == "KILLED"


def test_a_child_knows_its_parent(tracker: Tracker):
    with tracker.open(unit("p", Kind.ARM)) as parent, tracker.open(unit("c"), parent.id) as child:
        child.complete()
    assert tracker.find("c").tags["mlflow.parentRunId"] == parent.id


# --- nothing that cannot be read is complete -----------------------------------------------------


@pytest.mark.parametrize("name", ["table.csv", "deep/er/table.csv"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_artifact_keeps_the_run_from_being_complete(
    tracker: Tracker, client: MlflowClient, name: str, damage: str
):
    run = tracker.open(unit())
    with pytest.raises(OSError, match=f"artifact {name} of run") as raised, run:  # noqa: PT012
        run.text("fine", "other.txt")
        run.table(pd.DataFrame({"a": [1, 2, 3]}), name)
        path = artifact_folder(client, run.id) / name
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-2])
        run.complete()
    assert "were written" in str(raised.value)
    assert tracker.find("k") is None
    assert client.get_run(run.id).info.status == "FAILED"


def test_an_artifact_written_again_counts_as_it_is_now(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.text("long text", "a.txt")
        run.text("short", "a.txt")
        run.complete()
    assert tracker.artifact(run.id, "a.txt").read_text() == "short"


def test_tables_and_figures_come_back(tracker: Tracker):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.5, None]})
    figure = Figure()
    figure.add_subplot()
    with tracker.open(unit()) as run:
        run.table(frame, "t.parquet")
        run.table(frame, "t.csv")
        run.figure(figure, "plots/f.png")
        run.dataset(frame, "data", "digest", "somewhere")
        run.complete()
    parquet = pq.read_table(tracker.artifact(run.id, "t.parquet")).to_pandas()
    pd.testing.assert_frame_equal(parquet, frame)
    pd.testing.assert_frame_equal(pd.read_csv(tracker.artifact(run.id, "t.csv")), frame)
    assert tracker.artifact(run.id, "plots/f.png").read_bytes().startswith(b"\x89PNG")


# --- metrics and params --------------------------------------------------------------------------


def test_no_metric_is_lost_among_thousands(tracker: Tracker, client: MlflowClient):
    with tracker.open(unit()) as run:
        for step in range(1, 1501):
            run.metrics({"loss": step / 2, "auc": step}, step=step)
        run.complete()
    for name, factor in (("loss", 0.5), ("auc", 1)):
        history = client.get_metric_history(run.id, name)
        assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
            (step, step * factor) for step in range(1, 1501)
        ]
    assert tracker.find("k").metrics["auc"] == 1500


def test_complete_flushes_first(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.metrics({"auc": 1})
        run.complete()
        assert tracker.find("k").metrics == {"auc": 1}


def test_hundreds_of_long_params_are_logged(tracker: Tracker):
    values = {f"p{number}": str(number) for number in range(250)} | {"long": "x" * 7000}
    with tracker.open(unit(params=values)) as run:
        run.complete()
    found = tracker.find("k").params
    assert found.pop("long") == "x" * 6000
    assert found == {name: value for name, value in values.items() if name != "long"}


def test_a_param_keeps_its_first_value(tracker: Tracker):
    with tracker.open(unit(params={"a": "1"})) as run:
        run.params({"a": "2", "b": "3"})
        run.complete()
    assert tracker.find("k").params == {"a": "1", "b": "3"}


# --- searching -----------------------------------------------------------------------------------


def test_a_search_gives_every_page_oldest_first(tracker: Tracker, monkeypatch):
    monkeypatch.setattr("lesion_transfer.tracking.reading.PAGE", 2)
    ids = []
    for number in range(5):
        with tracker.open(unit(f"k{number}", identity={"a": "yes"})) as run:
            ids.append(run.id)
    with tracker.open(unit("other", identity={"a": "no"})):
        pass
    assert [run.id for run in tracker.search({"a": "yes"})] == ids
    assert list(tracker.search({"a": "yes", Tag.KEY: "k3"}))[0].id == ids[3]  # noqa: RUF015


def test_a_search_for_text_with_a_quote_finds_nothing_or_that_text(tracker: Tracker):
    with tracker.open(unit(identity={"dataset": "it's"})) as run:
        pass
    assert [found.id for found in tracker.search({"dataset": "it's"})] == [run.id]


def test_a_part_is_found_while_its_run_goes_on(tracker: Tracker):
    with tracker.open(unit()) as run:
        assert tracker.find_part(Tag.NETWORK_KEY, "n") is None
        run.tags({Tag.NETWORK_KEY: "n"})
        assert tracker.find_part(Tag.NETWORK_KEY, "n").id == run.id
        assert tracker.find_part(Tag.FEATURES_KEY, "n") is None


def test_experiments_do_not_see_each_other(tracker: Tracker, environment: dict[str, str]):
    with tracker.open(unit()) as run:
        run.complete()
    other = Tracker(environment | {"MLFLOW_EXPERIMENT_NAME": "another"})
    assert other.find("k") is None
    same = Tracker(environment | {"MLFLOW_EXPERIMENT_ID": tracker.experiment_id})
    assert same.find("k").id == run.id


# --- one run per key -----------------------------------------------------------------------------


def test_of_several_complete_runs_of_a_key_the_newest_remains(
    tracker: Tracker, client: MlflowClient
):
    ids = []
    for _ in range(3):
        with tracker.open(unit()) as run:
            run.complete()
        ids.append(run.id)
    with tracker.open(unit("bystander")) as bystander:
        bystander.complete()
    assert len(set(ids)) == 3
    assert tracker.find("k").id == ids[-1]
    assert {r.info.run_id for r in stored_runs(tracker, client)} == {ids[-1], bystander.id}


def test_two_processes_that_complete_one_key_at_once_both_end_well(
    tracker: Tracker, client: MlflowClient
):
    one = tracker.open(unit())
    one.tags({Tag.OWNER: "another-machine/1"})
    two = tracker.open(unit())
    assert one.id != two.id
    with one, two:
        one.complete()
        two.complete()
    assert tracker.find("k") is not None
    assert len(stored_runs(tracker, client)) == 1


def test_a_failed_second_try_leaves_the_first_result(tracker: Tracker):
    with tracker.open(unit()) as first:
        first.complete()
    with pytest.raises(RuntimeError), tracker.open(unit()):
        raise RuntimeError
    assert tracker.find("k").id == first.id


# --- what a dead process leaves ------------------------------------------------------------------


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left_by(tracker: Tracker, client: MlflowClient, owner: str) -> str:
    with tracker.open(unit()) as run:
        run.tags({Tag.NETWORK_KEY: "kept"})
    client.set_tag(run.id, Tag.OWNER, owner)
    client.set_terminated(run.id, "KILLED")
    return run.id


def test_the_run_of_a_dead_process_is_continued(tracker: Tracker, client: MlflowClient):
    run_id = left_by(tracker, client, f"{socket.gethostname()}/{dead_process()}")
    with tracker.open(unit(params={"new": "1"})) as run:
        assert run.id == run_id
        assert client.get_run(run.id).info.status == "RUNNING"
        assert tracker.find_part(Tag.NETWORK_KEY, "kept").id == run_id
        run.complete()
    assert tracker.find("k").id == run_id
    assert tracker.find("k").tags[Tag.OWNER] == f"{socket.gethostname()}/{os.getpid()}"


@pytest.mark.parametrize("owner", ["live", "elsewhere", "root"])
def test_the_run_of_another_process_that_may_live_is_left_alone(
    tracker: Tracker, client: MlflowClient, owner: str
):
    process = {"live": os.getppid(), "elsewhere": dead_process(), "root": 1}[owner]
    host = "another-machine" if owner == "elsewhere" else socket.gethostname()
    run_id = left_by(tracker, client, f"{host}/{process}")
    with tracker.open(unit()) as run:
        assert run.id != run_id
        run.complete()
    assert run_id in {r.info.run_id for r in stored_runs(tracker, client)}


def test_our_own_failed_run_is_tried_again_in_the_same_place(
    tracker: Tracker, client: MlflowClient
):
    with pytest.raises(RuntimeError), tracker.open(unit()) as first:
        raise RuntimeError
    with tracker.open(unit()) as second:
        second.complete()
    assert second.id == first.id
    assert client.get_run(first.id).info.status == "FINISHED"


def test_a_run_that_succeeds_at_last_shows_no_error(tracker: Tracker):
    with pytest.raises(RuntimeError), tracker.open(unit()):
        raise RuntimeError("first try")
    with tracker.open(unit()) as run:
        run.complete()
    assert Tag.ERROR not in tracker.find("k").tags or not tracker.find("k").tags[Tag.ERROR]


def test_an_arm_has_one_run_however_often_it_grows(tracker: Tracker, client: MlflowClient):
    arm = unit("arm", Kind.ARM)
    with tracker.open(arm) as first:
        first.complete()
    client.set_tag(first.id, Tag.OWNER, "another-machine/1")
    with tracker.open(arm) as second:
        pass
    assert second.id == first.id


# --- the run that `mlflow run` hands over --------------------------------------------------------


@pytest.fixture
def handed(tracker: Tracker, client: MlflowClient) -> str:
    run_id = client.create_run(tracker.experiment_id).info.run_id
    client.log_param(run_id, "folds", "1x1")
    client.log_param(run_id, "design", "as typed")
    return run_id


@pytest.fixture
def later(environment: dict[str, str], handed: str) -> Tracker:
    """The tracker of a command that `mlflow run` has started."""
    return Tracker(environment | {"MLFLOW_RUN_ID": handed})


def test_the_handed_over_run_is_adopted_with_its_params(later: Tracker, handed: str):
    with later.open(unit("first")) as other:
        assert other.id != handed
    with later.open(unit(identity={"design": "native", "fold": "x"}), adopt=True) as run:
        assert run.id == handed
        run.complete()
    found = later.find("k")
    assert found.id == handed
    assert found.params == {"folds": "1x1", "design": "as typed", "fold": "x"}
    assert found.tags["design"] == "native"
    assert found.tags["mlflow.runName"] == "run k"


def test_it_is_adopted_once(later: Tracker, handed: str):
    with later.open(unit("a"), adopt=True) as first, later.open(unit("b"), adopt=True) as second:
        assert first.id == handed
        assert second.id != handed


def test_a_result_that_is_there_moves_into_the_handed_over_run(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    frame = pd.DataFrame({"a": [1]})
    with tracker.open(unit(identity={"design": "native", "fold": "x"})) as old:
        for step in (1, 2, 3):
            old.metrics({"loss": 1 / step, "auc": step}, step=step)
        old.text("hello", "deep/er/note.txt")
        old.dataset(frame, "data", "digest", "somewhere")
        old.complete()
    with tracker.open(unit("child"), old.id) as child:
        child.complete()
    assert later.find("k").id == old.id  # as long as the run handed over is not asked for
    found = later.find("k", adopt=True)
    assert found.id == handed
    assert found.params == {"folds": "1x1", "design": "as typed", "fold": "x"}
    assert found.tags["design"] == "native"
    assert found.tags[Tag.STATE] == "complete"
    for name, values in (("loss", [1.0, 1 / 2, 1 / 3]), ("auc", [1.0, 2.0, 3.0])):
        history = client.get_metric_history(handed, name)
        assert [(m.step, m.value) for m in history] == list(enumerate(values, 1))
    assert later.artifact(handed, "deep/er/note.txt").read_text() == "hello"
    assert len(client.get_run(handed).inputs.dataset_inputs) == 1
    assert {r.info.run_id for r in stored_runs(tracker, client)} == {handed, child.id}
    assert later.find("child").tags["mlflow.parentRunId"] == handed
    assert later.find("k", adopt=True).id == handed  # and nothing moves twice


def test_what_refers_to_a_run_follows_its_move(tracker: Tracker, later: Tracker, handed: str):
    references = (Tag.NETWORK_RUN, Tag.FEATURES_RUN, Tag.MODEL_RUN)
    with tracker.open(unit()) as network:
        network.complete()
    with tracker.open(unit("user")) as user:
        user.tags(dict.fromkeys(references, network.id))
        user.complete()
    assert later.find("k", adopt=True).id == handed
    tags = later.find("user").tags
    assert [tags[reference] for reference in references] == [handed] * len(references)


def test_a_long_history_moves_too(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    with tracker.open(unit(params={f"p{number}": "x" for number in range(150)})) as old:
        for step in range(1500):
            old.metrics({"loss": step}, step=step)
        old.complete()
    assert later.find("k", adopt=True).id == handed
    assert len(client.get_metric_history(handed, "loss")) == 1500
    assert len(later.find("k").params) == 152


def test_a_run_to_continue_is_continued_in_the_handed_over_one(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    run_id = left_by(tracker, client, f"{socket.gethostname()}/{dead_process()}")
    with later.open(unit(), adopt=True) as run:
        assert run.id == handed
        assert later.find_part(Tag.NETWORK_KEY, "kept").id == handed
        run.complete()
    assert run_id not in {r.info.run_id for r in stored_runs(tracker, client)}


def test_nothing_there_leaves_the_handed_over_run_waiting(later: Tracker, handed: str):
    assert later.find("k", adopt=True) is None
    with later.open(unit(), adopt=True) as run:
        assert run.id == handed


def test_why_a_command_failed_is_in_the_run_it_was_given(
    later: Tracker, client: MlflowClient, handed: str
):
    later.record_failure(UserError("this is wrong", next_step="do that"))
    tags = client.get_run(handed).data.tags
    assert tags[Tag.ERROR] == "this is wrong\nNext step: do that"
    assert "this is wrong" in tags["mlflow.note.content"]
    assert later.find("k") is None


# --- what a user gets wrong ----------------------------------------------------------------------


def test_an_artifact_that_is_not_there_is_a_user_error(tracker: Tracker):
    with tracker.open(unit()) as run:
        pass
    with pytest.raises(UserError, match=rf"artifact gone\.txt of run {run.id}") as raised:
        tracker.artifact(run.id, "gone.txt")
    assert "force=true" in raised.value.next_step


@pytest.mark.parametrize("run_id", ["0" * 32, "nonsense"])
def test_an_artifact_of_no_run_is_a_user_error(tracker: Tracker, run_id: str):
    with pytest.raises(UserError, match=f"artifact a.txt of run {run_id}"):
        tracker.artifact(run_id, "a.txt")


@pytest.mark.parametrize(
    "uri",
    [
        "models:/nothing@champion",
        "models:/nothing/1",
        "models:/",
        f"runs:/{'0' * 32}/model.keras",
        "runs:/",
    ],
)
def test_a_download_of_nothing_is_a_user_error(tracker: Tracker, uri: str):
    with pytest.raises(UserError) as raised:
        tracker.download(uri)
    assert uri in raised.value.problem
    assert "runs:/<run id>/<artifact>" in raised.value.expected


def test_a_download_gives_files_and_folders(tracker: Tracker):
    with tracker.open(unit()) as run:
        run.text("hello", "model/note.txt")
    assert tracker.download(f"runs:/{run.id}/model/note.txt").read_text() == "hello"
    assert (tracker.download(f"runs:/{run.id}/model") / "note.txt").read_text() == "hello"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("uri", ["nonsense://x", "http://127.0.0.1:9"])
def test_a_server_that_cannot_be_used_is_a_user_error(uri: str, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"the tracking server .* cannot be used") as raised:
        Tracker({"MLFLOW_TRACKING_URI": uri})
    assert uri in raised.value.problem
    assert "MLFLOW_TRACKING_URI" in raised.value.next_step


@pytest.mark.parametrize("wrong", ["missing", "deleted"])
def test_an_experiment_that_cannot_be_used_is_a_user_error(
    environment: dict[str, str], client: MlflowClient, wrong: str
):
    if wrong == "missing":
        environment |= {"MLFLOW_EXPERIMENT_ID": "987654"}
    else:
        client.delete_experiment(client.create_experiment(environment["MLFLOW_EXPERIMENT_NAME"]))
    with pytest.raises(UserError), Tracker(environment).open(unit()):
        pass


def test_two_trackers_have_their_own_servers(tmp_path: Path, environment: dict[str, str], tracker):
    with tracker.open(unit()) as run:
        run.complete()
    other = Tracker(environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"})
    assert other.find("k") is None
    assert tracker.find("k").id == run.id


def test_tags_of_the_system_have_its_prefix():
    assert all(tag.value.startswith(SYSTEM_PREFIX) for tag in Tag)
    assert len({tag.value for tag in Tag}) == len(Tag)
