"""How much of a GPU's memory a run needs: a few training steps and a small evaluation, watched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from json import dumps, loads
from typing import TYPE_CHECKING, NamedTuple

from trainables import catalog
from trainables.contract import NonFiniteError, RunSpec

if TYPE_CHECKING:
    from trainables.sample_metrics import Yardstick

STEPS, SAMPLES, NFE = 3, 256, 8


class Need(NamedTuple):
    """Of a run, in GB of the memory that torch counts; and the GPU that it was measured on."""

    gb: float
    gpu: str
    gpu_gb: float


def need(spec: RunSpec, yardstick: Yardstick | None, reading: Callable[[], Need] | None = None) -> Need:
    """The most that a run of `spec` holds in a few steps and an evaluation; kept in the cache for each kind of GPU.

    Raises torch.OutOfMemoryError where a whole GPU is too small.
    """
    from trainables.data.cache import cache_folder

    reading = reading or gpu_memory
    small = replace(spec, sampling=spec.sampling[:1], samples=min(spec.samples, SAMPLES), nfe=min(spec.nfe, NFE))
    label = yardstick.main.label if yardstick else ""
    key = sha256(dumps([asdict(small), label, reading().gpu], sort_keys=True).encode()).hexdigest()[:16]
    kept = cache_folder() / f"gpu-memory-{key}.json"
    with suppress(OSError, ValueError, TypeError):
        return Need(*loads(kept.read_text()))
    run = catalog.build(small)
    with suppress(NonFiniteError):  # what was held was held all the same
        run.train(STEPS * int(small.params.get("batch_size", 1)))
        run.evaluate(final=False, yardstick=yardstick)
    found = reading()
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(dumps(found))
    return found


def gpu_memory() -> Need:
    """The most that torch has held of this process's GPU so far, its name and its size."""
    import torch

    _, total = torch.cuda.mem_get_info()
    return Need(torch.cuda.max_memory_reserved() / 1e9, torch.cuda.get_device_name(), total / 1e9)
