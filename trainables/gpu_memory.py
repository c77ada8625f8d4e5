"""The GPU memory that a run needs, measured over a few training steps and a small evaluation."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from json import dumps, loads
from typing import TYPE_CHECKING, NamedTuple

from trainables.build import build
from trainables.contract import NonFiniteError, RunSpec
from trainables.files import write_file

if TYPE_CHECKING:
    from trainables.sample_metrics import SampleMetrics

STEPS, SAMPLES, NFE = 5, 1024, 8


class Need(NamedTuple):
    """Memory of a run in GB, as torch counts it, and the GPU on which it was measured."""

    gb: float
    gpu: str
    gpu_gb: float


def need(spec: RunSpec, sample_metrics: SampleMetrics | None, reading: Callable[[], Need] | None = None) -> Need:
    """Return the peak memory of a run over a few training steps and an evaluation. Cache it for each kind of GPU.

    Raise torch.OutOfMemoryError if a whole GPU is too small.
    """
    from trainables.cache_folder import cache_folder

    reading = reading or gpu_memory
    samples = min(max(spec.samples, spec.final_samples), SAMPLES)
    small = replace(spec, sampling=spec.sampling[:1], samples=samples, nfe=min(spec.nfe, NFE))
    label = sample_metrics.main.label if sample_metrics else ""
    key = sha256(dumps([asdict(small), label, reading().gpu], sort_keys=True).encode()).hexdigest()[:16]
    kept = cache_folder() / f"gpu-memory-{key}.json"
    with suppress(OSError, ValueError, TypeError):
        return Need(*loads(kept.read_text()))
    run = build(small)
    with suppress(NonFiniteError):  # the memory was used all the same
        run.train(STEPS * int(small.params.get("batch_size", 1)))
        run.evaluate(final=False, sample_metrics=sample_metrics)
    measured = reading()
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, dumps(measured))
    return measured


def release() -> None:
    """Give the GPU memory of the last trial of this process back, and start its peak again."""
    if "torch" not in sys.modules or not sys.modules["torch"].cuda.is_initialized():
        return
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def gpu_memory() -> Need:
    """Return the peak memory that torch has reserved on this process's GPU, its name and its size."""
    import torch

    _, total = torch.cuda.mem_get_info()
    return Need(torch.cuda.max_memory_reserved() / 1e9, torch.cuda.get_device_name(), total / 1e9)
