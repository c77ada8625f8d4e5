"""Messages about an unusable Ray, and the slots of a cluster as nodes come and go. No Ray runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.utils import check_version_info
from ray.exceptions import AuthenticationError

from tune_app.cluster import ray as cluster
from tune_app.cluster import shared_folder as shared
from tune_app.cluster.ray import Cluster
from tune_app.config.schema import ResourcesConfig
from tune_app.errors import InputError, TuneAppError

QUARTER = ResourcesConfig(cpu=2, gpu=0.25)
HEAD, WORKER = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}


def failing(error: Exception) -> Any:
    def init(**_: Any) -> None:
        raise error

    return init


def test_a_cluster_of_other_versions_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError) as rays_own:
        check_version_info({"ray_version": "2.1.0", "python_version": "3.9.1"}, "here")
    monkeypatch.setattr(ray, "init", failing(rays_own.value))
    with pytest.raises(InputError, match=r"^--address auto: the cluster runs Ray: 2\.1\.0, Python: 3\.9\.1; this"):
        cluster.join("auto")


def test_a_token_that_is_not_taken_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", failing(AuthenticationError("Unauthenticated")))
    with pytest.raises(InputError, match="the cluster rejected the token"):
        cluster.join("auto")


def test_a_ray_that_does_not_come_up_in_time_is_no_fault_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", failing(Exception("The current node timed out during startup.")))
    with pytest.raises(TuneAppError, match=r"^Ray did not start: The current node timed out") as raised:
        cluster.join("auto")
    assert raised.value.exit_code == 1


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Return the nodes of a cluster without an autoscaler."""
    found: list[dict[str, float]] = [HEAD]
    monkeypatch.setattr(cluster, "_nodes", lambda: found)
    monkeypatch.setattr(cluster, "_grows", lambda: False)
    return found


def test_a_trial_that_fits_on_no_node_is_refused_with_what_there_is(nodes: list[dict[str, float]]) -> None:
    nodes.append(HEAD)
    with pytest.raises(InputError, match=r"asks for 2 CPUs and 0\.25 GPUs, but no node .* 2 x 4 CPUs and 0 GPUs"):
        cluster._await_room(QUARTER, print)


def test_a_cluster_that_grows_is_waited_for_with_a_word(
    nodes: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_grows", lambda: True)
    asked: list[Any] = []

    class Group:
        def __init__(self, bundles: list[dict[str, float]]) -> None:
            asked.append(bundles)

        def ready(self) -> None: ...

    monkeypatch.setattr(ray.util, "placement_group", Group)
    monkeypatch.setattr(ray.util, "remove_placement_group", asked.append)
    monkeypatch.setattr(ray, "wait", lambda *_, **__: nodes.append(WORKER))
    said: list[str] = []
    cluster._await_room(QUARTER, said.append)
    assert said == [
        "waiting up to 30 minutes for a node with 2 CPUs and 0.25 GPUs; there is 4 CPUs and 0 GPUs",
    ]
    assert asked[0] == [{"CPU": 2.0, "GPU": 0.25}]
    assert isinstance(asked[1], Group), "given back"


def test_room_follows_the_nodes_of_a_cluster(
    nodes: list[dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "POLL_SECONDS", -1.0)
    joined = Cluster(cpus=0, gpus=0, slots=0, local=False, scratch=tmp_path, resources=QUARTER)
    assert joined.room() == 0
    nodes.append(WORKER)
    assert (joined.room(), joined.gpus) == (8, 2)
    monkeypatch.setattr(cluster, "_grows", lambda: True)
    assert joined.room() == 9, "one waits, so that an autoscaler sees it"
    nodes.clear()
    assert (joined.room(), joined.slots) == (1, 0)


def test_a_node_sees_the_marker_and_can_answer_or_says_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "SEE_SECONDS", 0.0)
    marker = tmp_path / "marker"

    def seen() -> str:
        return shared.complaint_of_node(str(tmp_path), "marker", "secret")

    assert seen() == "cannot see what the driver writes there"
    marker.write_text("another folder of the same name")
    assert seen() == "cannot see what the driver writes there"
    marker.write_text("secret")
    assert seen() == ""
    assert list(tmp_path.iterdir()) == [marker]
