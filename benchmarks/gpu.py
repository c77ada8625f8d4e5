"""Measure training, evaluation, features and packing on one GPU.

    python benchmarks/gpu.py

Prints one JSON document for each part as soon as it is measured. `training` is images per second, and its ratio to
the plain loop of training_step.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.training_step import BATCH, noise_images, ours, plain_loop, write_jpegs
from trainables import precision
from trainables.metrics import cnn, randconv
from trainables.metrics.frechet import frechet_distance, moments
from trainables.metrics.kid import Reference, kid
from trainables.sample_metrics import default_sample_metrics
from trainables.training import ImageRun

MODELS = ("ncsn", "beta_vae")
IMAGES = 20_000
SECONDS = 4.0


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in MODELS:
        packed_process(sys.argv[1], float(sys.argv[2]))
        return
    parts: dict[str, Callable[[], Any]] = {
        "graph": graph_equals_eager, "training": training, "evaluation": evaluation, "features": features,
        "packing": packing,
    }  # fmt: skip
    chosen = sys.argv[1:] or list(parts)
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    for name in chosen:
        began = time.perf_counter()
        try:
            found = parts[name]()
        except Exception as error:  # the other parts are worth having
            found = f"{type(error).__name__}: {error}"[:500]
        print(json.dumps({name: found}, indent=1), flush=True)
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)


def graph_equals_eager() -> dict[str, Any]:
    """Compare weights and losses after 40 steps recorded and 40 steps kernel by kernel, and a resume in between."""
    data, found = noise_images(2048), {}
    for name in MODELS:
        recorded, eager, resumed = (ours(name, data, width=32) for _ in range(3))
        eager._may_record = False
        losses = [run.train(40 * BATCH)["loss"] for run in (recorded, eager)]
        resumed.train(20 * BATCH)
        state = deepcopy(resumed.state())
        resumed.train(5 * BATCH)
        resumed.load_state(state)
        resumed.train(20 * BATCH)
        found[name] = {
            "is_recorded": recorded._recorded is not None,
            "losses": losses,
            "largest_difference": apart(recorded, eager),
            "after_resume": apart(resumed, eager),
            "between_two_eager": None,
        }
        again = ours(name, data, width=32)
        again._may_record = False
        again.train(40 * BATCH)
        found[name]["between_two_eager"] = apart(again, eager)
    return found


def apart(one: ImageRun, other: ImageRun) -> float:
    """Return the largest difference of averaged weights, relative to the largest weight."""
    pairs = zip(one.evaluated_network().parameters(), other.evaluated_network().parameters(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def training() -> dict[str, Any]:
    """Return images per second of the plain loop, and of ours with and without what a GPU needs."""
    data, found = noise_images(IMAGES), {}
    with TemporaryDirectory() as folder:
        write_jpegs(noise_images(4096), Path(folder))
        for name in MODELS:
            rows: dict[str, float] = {}
            run = ours(name, data)
            rows["ours"] = speed(run)
            rows["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            with suppress(Exception):
                run.train(200 * BATCH)
                rows["utilization"] = torch.cuda.utilization()
            eager = ours(name, data)
            eager._may_record = False
            rows["kernel by kernel"] = speed(eager)
            for layout in (torch.channels_last, torch.contiguous_format):
                with patch.object(precision, "memory_format", return_value=layout):
                    rows[str(layout)] = speed(ours(name, data))
            with tuned_convolutions():
                rows["cudnn.benchmark"] = speed(ours(name, data))
            float32 = ours(name, data)
            with patch.object(precision, "has_native_bfloat16", return_value=False):
                rows["float32"] = speed(float32)
            loop = plain_loop(ours(name, noise_images(BATCH)), Path(folder))
            rows["plain loop"] = rate(lambda loop=loop: next(loop))  # type: ignore[misc]
            del loop
            rows["times the plain loop"] = rows["ours"] / rows["plain loop"]
            found[name] = {key: round(value, 2) for key, value in rows.items()}
    return found


@contextmanager
def tuned_convolutions() -> Any:
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False


def speed(run: ImageRun) -> float:
    """Return images per second of a run."""
    return rate(lambda: run.train(20 * BATCH)) * 20


def rate(work: Callable[[], object]) -> float:
    """Return batches' images per second of `work`, which takes one batch."""
    work()
    work()
    torch.cuda.synchronize()
    times = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(times) < 3:
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return BATCH / median(times)


def evaluation() -> dict[str, Any]:
    """Return the seconds of a rung's and of the last rung's evaluation in the full profiles, with one setting."""
    data, found = noise_images(IMAGES), {}
    default_sample_metrics(data)
    for name in MODELS:
        run = ours(name, data)
        run.train(4 * BATCH)
        rows = {}
        for samples, nfe in ((512, 100), (2000, 100), (4096, 20)):
            spec = replace(run.spec, samples=samples, nfe=nfe)
            run.evaluate(final=False, spec=replace(spec, samples=64, nfe=4))
            torch.cuda.synchronize()
            began = time.perf_counter()
            run.evaluate(final=False, spec=spec)
            rows[f"{samples} samples of {nfe} evaluations"] = round(time.perf_counter() - began, 3)
        rows["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        rows |= drawing(run)
        found[name] = rows
    return found


def drawing(run: ImageRun) -> dict[str, float]:
    """Return network evaluations per second of samples: in float32 as a plain loop draws, and as ours does."""
    rows = {}
    plain = run.evaluated_network()
    for size in (64, 256, 1024):
        for kind, network, fast in (("plain", plain, False), ("ours", precision.for_inference(plain), True)):
            rows[f"{kind}, {size} at once"] = round(drawn(run, network, size, fast=fast))
    network = precision.for_inference(plain).to(memory_format=torch.channels_last)
    rows["ours, channels last, 1024 at once"] = round(drawn(run, network, 1024, fast=True))
    return rows


def drawn(run: ImageRun, network: torch.nn.Module, size: int, *, fast: bool) -> float:
    nfe = 20 if run.spec.model == "ncsn" else 1
    generator = torch.Generator(run.device).manual_seed(0)

    def work() -> Tensor:
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=fast):
            return run.model.sample(network, size, {}, nfe, generator)

    work()
    _, seconds = timed(lambda: [work() for _ in range(5)])
    return 5 * size * nfe / seconds


def features() -> dict[str, Any]:
    """Return seconds for 5,000 images on CPU and GPU, and how far the features are apart."""
    images = noise_images(5000).train
    classifier = cnn.train(images[:2000], torch.randint(10, (2000, 1)), torch.device("cuda"))
    sets: dict[str, Callable[[Tensor], Tensor]] = {"randconv": randconv.features, "cnn": classifier}
    found: dict[str, Any] = {}
    for name, compute in sets.items():
        compute(images[:1000])
        on_gpu, fast = timed(lambda compute=compute: compute(images))  # type: ignore[misc]
        with patch.object(precision, "default_device", return_value=torch.device("cpu")):
            on_cpu, slow = timed(lambda compute=compute: compute(images))  # type: ignore[misc]
        half = Reference(on_cpu[:2500]), Reference(on_gpu[:2500])
        found[name] = {
            "gpu_seconds": round(fast, 3),
            "cpu_seconds": round(slow, 3),
            "threads": torch.get_num_threads(),
            "largest_difference": float((on_gpu - on_cpu).abs().max() / on_cpu.abs().max()),
            "kids": [kid(on_cpu[2500:], half[0]).value, kid(on_gpu[2500:], half[1]).value],
        }
    for width in (128, 332, 2048):
        drawn, real = torch.randn(5000, width), torch.randn(5000, width)
        reference = Reference(real)
        a, b = moments(real), moments(drawn)
        found[f"kid and fd of {width} features on the CPU"] = [
            round(timed(lambda drawn=drawn, r=reference: kid(drawn, r))[1], 3),  # type: ignore[misc]
            round(timed(lambda a=a, b=b: frechet_distance(a, b))[1], 3),  # type: ignore[misc]
        ]
    return found


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    torch.cuda.synchronize()
    began = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return result, time.perf_counter() - began


def packing() -> dict[str, Any]:
    """Return images per second of 1, 2, 4 and 8 processes on one GPU, by time slicing and under MPS."""
    found: dict[str, Any] = {}
    for name in MODELS:
        found[name] = {str(count): packed(name, count) for count in (1, 2, 4, 8)}
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        return {**found, "mps": "nvidia-cuda-mps-control is not installed"}
    try:
        subprocess.run([control, "-d"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return {**found, "mps": str(error)}
    try:
        for name in MODELS:
            found[f"{name}, mps"] = {str(count): packed(name, count) for count in (2, 4, 8)}
    finally:
        subprocess.run([control], input=b"quit\n", capture_output=True, timeout=60, check=False)
    return found


def packed(name: str, count: int) -> dict[str, float]:
    """Return the sum of the images per second of `count` processes that train at the same time."""
    start = time.time() + 11 + 1.2 * count
    command = [sys.executable, "-m", "benchmarks.gpu", name, str(start)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    outputs = [json.loads(process.communicate()[0] or "{}") for process in processes]
    speeds = [output.get("images_per_second", 0.0) for output in outputs]
    return {
        "images_per_second": round(sum(speeds)),
        "utilization": max(output.get("utilization", -1) for output in outputs),
        "late": sum(output.get("late", 1) for output in outputs),
    }


def packed_process(name: str, start: float) -> None:
    torch.set_num_threads(2)
    run = ours(name, data := noise_images(2048))
    del data
    run.train(20 * BATCH)
    torch.cuda.synchronize()
    late = time.time() > start
    time.sleep(max(0.0, start - time.time()))
    seen, began, utilization = run.images, time.perf_counter(), -1
    while time.perf_counter() - began < SECONDS:
        run.train(20 * BATCH)
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    with suppress(Exception):
        utilization = torch.cuda.utilization()
    print(json.dumps({"images_per_second": (run.images - seen) / seconds, "late": late, "utilization": utilization}))


if __name__ == "__main__":
    main()
