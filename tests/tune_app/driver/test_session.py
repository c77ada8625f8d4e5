"""The places and rules that a session gives to every part of the driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.events import asked, at
from tests.tune_app.driver.sessions import LocalSession
from tune_app.config.load import load


def test_park_file_and_checkpoints_lie_in_the_folder_or_at_the_address_of_the_storage(tmp_path: Path) -> None:
    opened = LocalSession(load("branin_space.yaml"), tmp_path)
    local = opened.session
    assert local.park_file == str(local.experiment.folder / ".park")
    remote = replace(local, config=load("branin_space.yaml", set={"storage": "s3://bucket/sweeps"}))
    assert remote.park_file == f"s3://bucket/sweeps/{local.experiment.folder.name}/.park"
    local.log.append(asked("0000", x1=1.0, x2=2.0))
    for kimg in (1, 3):
        path = f"trials/0000/checkpoint_00000{kimg}000"
        local.log.append(at(0, "checkpointed", trial="0000", kimg=kimg, path=path))
    newest_first = [f"trials/0000/checkpoint_00000{kimg}000" for kimg in (3, 1)]
    assert local.checkpoints("0000") == [str(local.experiment.folder / path) for path in newest_first]
    assert remote.checkpoints("0000") == [
        f"s3://bucket/sweeps/{local.experiment.folder.name}/{p}" for p in newest_first
    ]
    opened.log.close()


@pytest.mark.parametrize(("local", "gpu", "reuses"), [(True, 0, True), (True, 0.5, True), (False, 0, False)])
def test_only_trials_of_one_machine_share_worker_processes(
    local: bool, gpu: float, reuses: bool, tmp_path: Path
) -> None:
    opened = LocalSession(load("branin_space.yaml", set={"resources.gpu": gpu}), tmp_path)
    session = opened.session
    assert replace(session, cluster=replace(session.cluster, local=local)).reuses_actors is reuses
    opened.log.close()
