"""Faults for tests, in every process of a sweep that has this folder on its PYTHONPATH.

TUNE_APP_FAULTS: comma-separated `trial:fault` for Branin sweeps with seed 0; `*` means every trial. `error` raises at
each step from the second report on. `die` ends the process once. `nan` makes every value NaN. `gpu_memory` raises an
out-of-memory error until the trial has a whole GPU, `gpu_half` until it has half of one. `disk_full` makes every
checkpoint fail.
TUNE_APP_MEET: a number of GPUs. Each trial writes its share to TUNE_APP_FAULTS_ONCE/SHARE and waits until as many
trials as fit on those GPUs have started.
TUNE_APP_GPUS: the number of GPUs that the machine seems to have. Branin does not use them.
"""

import errno
import os
import time
from pathlib import Path


def _break(faults: dict[str, str]) -> None:
    from trainables import branin, checkpoint

    train, write = branin.Branin.train, checkpoint.write

    def train_with_fault(self: branin.Branin, images: int) -> dict[str, float]:
        if self.meet and self._images == 0:
            _meet(self)
        losses = train(self, images)
        if self._images < 2000 or self.fault is None:
            return losses
        if self.fault == "error":
            print(f"trial {self.number} prints before it fails", flush=True)
            raise ValueError("a fault of this trial's own\nin two lines")
        if self.fault == "die" and _once("die"):
            os._exit(9)
        if self.fault in ("gpu_memory", "gpu_half"):
            share = _share()
            if share < (1 if self.fault == "gpu_memory" else 0.5):
                raise RuntimeError(f"CUDA out of memory. Tried to allocate 2.00 GiB with {share:g} of a GPU")
        return losses

    def write_with_fault(folder: Path, state: dict[str, object], about: dict[str, object]) -> None:
        if "disk_full" in faults.values() and about["images"] > 2000:
            raise checkpoint.UnwritableError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        write(folder, state, about)

    def build(spec: object) -> branin.Branin:
        run = branin.Branin(spec)
        number = str((spec.seed - 1) // 7919)
        run.number, run.fault = number, faults.get(number, faults.get("*"))
        run.meet = int(os.environ.get("TUNE_APP_MEET", 0))
        if run.fault == "nan":
            run._bias = float("nan")
        return run

    branin.Branin.train, branin.build, checkpoint.write = train_with_fault, build, write_with_fault


def _share() -> float:
    import ray

    return ray.get_runtime_context().get_assigned_resources()["GPU"]


def _meet(run: object) -> None:
    expected, run.meet = round(run.meet / _share()), 0
    place = Path(os.environ["TUNE_APP_FAULTS_ONCE"], f"{_share():g}")
    place.mkdir(exist_ok=True)
    (place / f"{run.number}-on-{os.environ['CUDA_VISIBLE_DEVICES']}").touch()
    for _ in range(1000):
        if len(list(place.iterdir())) >= expected:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{len(list(place.iterdir()))} of {expected} trials came")


def _once(name: str) -> bool:
    try:
        Path(os.environ["TUNE_APP_FAULTS_ONCE"], name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if os.environ.get("TUNE_APP_GPUS"):
    from tune_app.cluster import this_machine

    this_machine.nvml_gpus = lambda: int(os.environ["TUNE_APP_GPUS"])
if os.environ.get("TUNE_APP_FAULTS"):
    _break(dict(item.split(":") for item in os.environ["TUNE_APP_FAULTS"].split(",")))
