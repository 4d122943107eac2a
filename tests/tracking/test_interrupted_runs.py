"""What a process that died leaves behind, and who goes on with it."""

import os
import socket

import pytest
from mlflow import MlflowClient
from tracked import dead_process, left_by, stored_runs, unit

from lesion_transfer.tracking import Kind, Tag, Tracker


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
