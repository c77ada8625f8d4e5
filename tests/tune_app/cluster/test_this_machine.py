"""The CPUs and GPUs of this machine."""

from __future__ import annotations

import pytest

from tune_app.cluster import this_machine
from tune_app.cluster.this_machine import local_gpus


@pytest.mark.parametrize(
    ("there", "visible", "usable"),
    [
        (0, None, 0), (0, "0", 0), (0, "0,1", 0), (0, "NoDevFiles", 0), (0, "GPU-5f3a", 0),
        (4, None, 4), (4, "", 0), (4, "-1", 0), (4, "NoDevFiles", 0), (4, "0", 1), (4, "3, 1", 2), (4, "0,7,1", 1),
        (4, "GPU-5f3a,GPU-77b0", 2), (1, "MIG-1,MIG-2,MIG-3", 3),
    ],
)  # fmt: skip
def test_gpus_are_those_of_the_machine_that_the_environment_names(
    there: int, visible: str | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(this_machine, "nvml_gpus", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_gpus() == usable


def test_a_machine_without_the_drivers_library_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert this_machine.nvml_gpus() == 0
