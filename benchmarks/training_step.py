"""Compare our training step with a plain training loop on the same network and the same batch.

    python benchmarks/training_step.py --json

The plain loop is a usual one: ImageFolder, a DataLoader with two workers, float32, Adam with its defaults, averaged
weights updated one parameter at a time, and `.item()` in every step. A ratio is our images per second divided by the
plain loop's. The median is taken over rounds that alternate in one process, so that other load affects both sides.

On a CPU, `laptop_step` is the CPU time of a Beta-VAE's step in the laptop profile, with our layers and with torch's.
`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2` before the command shows it for a processor without AVX-512.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor
from torchvision.utils import save_image

from trainables import catalog, precision
from trainables.beta_vae.layers import Down, Up
from trainables.beta_vae.task import BetaVae
from trainables.contract import ImageModel, RunSpec, Scalar
from trainables.data import ImageData
from trainables.ncsn.task import Ncsn
from trainables.training import ImageRun, seeded_weights

BATCH = 128
IMAGES = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of ours against plain")
    parser.add_argument("--steps", type=int, default=4, help="steps a round and side")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--model", choices=("ncsn", "beta_vae"), action="append", help="only this one; may be repeated")
    parser.add_argument("--loss-check", action="store_true", help="also train 200 steps in bfloat16 and in float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = precision.default_device()
    found: dict[str, Any] = {
        "device": str(device),
        "threads": options.threads,
        "native_bfloat16": precision.has_native_bfloat16(device.type),
    }
    data = noise_images(IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(data, Path(folder))
        for name in options.model or ("ncsn", "beta_vae"):
            found[name] = compare(name, data, Path(folder), rounds=options.rounds, steps=options.steps)
            if options.loss_check:  # emulated, 200 steps of the VAE would take half an hour, and no run of ours uses it
                found[name]["loss_check"] = (
                    loss_check(name, data) if found["native_bfloat16"] else "bfloat16 not native"
                )
    if device.type == "cpu":
        found["laptop_step"] = laptop_step(options.rounds)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


def compare(name: str, data: ImageData, folder: Path, *, rounds: int, steps: int) -> dict[str, Any]:
    """Return images per second on both sides, and the median ratio of the rounds."""
    run = ours(name, data)
    run.network.train()
    loop = plain_loop(run, folder)
    # a step of each before the clock: workers start, kernels are chosen, optimisers get their state
    run.train(BATCH)
    next(loop)
    pairs = [
        (rate(lambda: run.train(steps * BATCH), steps), rate(lambda: [next(loop) for _ in range(steps)], steps))
        for _ in range(rounds)
    ]
    return {
        "ratio": round(median(fast / slow for fast, slow in pairs), 3),
        "ratios": [round(fast / slow, 3) for fast, slow in pairs],
        "images_per_second": round(median(fast for fast, _ in pairs), 1),
        "plain_images_per_second": round(median(slow for _, slow in pairs), 1),
    }


def laptop_step(rounds: int, steps: int = 20) -> dict[str, float]:
    """Return the CPU milliseconds of a Beta-VAE's step in the laptop profile, the median of the rounds."""
    run = ours("beta_vae", noise_images(IMAGES, side=16), width=16, latent_dim=16, batch_size=64)
    run.train(64)
    spent: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(rounds):
        spent["ours"].append(cpu_ms(run, steps))
        with patch.object(Down, "forward", nn.Conv2d.forward), patch.object(Up, "forward", nn.ConvTranspose2d.forward):
            spent["torch"].append(cpu_ms(run, steps))
    return {f"{layers}_cpu_ms": round(median(times), 2) for layers, times in spent.items()}


def cpu_ms(run: ImageRun, steps: int) -> float:
    """Return the CPU milliseconds of one of `steps` steps."""
    began = time.process_time()
    run.train(64 * steps)
    return 1000 * (time.process_time() - began) / steps


def rate(work: Callable[[], object], steps: int) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return steps * BATCH / (time.perf_counter() - began)


def plain_loop(run: ImageRun, folder: Path) -> Iterator[float]:
    """Yield after each step of the plain loop, on a copy of the same network."""
    device, params = run.device, run.spec.params
    network = deepcopy(run.network).to(memory_format=torch.contiguous_format)
    average = deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=float(params["lr"]))
    generator = torch.Generator(device).manual_seed(0)
    decay = float(params["ema"])
    loader = DataLoader(ImageFolder(str(folder), ToTensor()), BATCH, shuffle=True, num_workers=2, drop_last=True)
    while True:
        for images, _ in loader:
            losses = run.model.loss(network, images.to(device), 0.0, generator)
            optimizer.zero_grad()
            losses["loss"].mean().backward()  # type: ignore[no-untyped-call]
            if float(params["clip"]) > 0:
                nn.utils.clip_grad_norm_(network.parameters(), float(params["clip"]))
            optimizer.step()
            if decay > 0:
                for kept, weight in zip(average.parameters(), network.parameters(), strict=True):
                    kept.data = decay * kept.data + (1 - decay) * weight.data
            yield losses["loss"].mean().item()


def loss_check(name: str, data: ImageData, steps: int = 200) -> dict[str, float]:
    """Return the mean loss of the last half of `steps` steps in float32 and bfloat16 autocast, from the same start."""
    found = {}
    for kind, enabled in (("float32", False), ("bfloat16", True)):
        small: dict[str, Scalar] = {"batch_size": 32, "width": 32} if name == "ncsn" else {"batch_size": 32}
        with patch.object(precision, "has_native_bfloat16", return_value=enabled):
            run = ours(name, data, **small)
            losses = [run.train(32)["loss"] for _ in range(steps)]
        found[kind] = round(mean(losses[steps // 2 :]), 2)
    return found


def ours(name: str, data: ImageData, **changed: Scalar) -> ImageRun:
    """Return a run with the catalog's defaults (width 128, latent 128) and seed 0."""
    params = {key: parameter.default for key, parameter in catalog.MODELS[name].parameters.items()}
    spec = RunSpec(model=name, params={**params, "batch_size": BATCH, **changed}, seed=0)
    models: dict[str, Callable[[], ImageModel]] = {
        "ncsn": lambda: Ncsn(spec.params, mean=data.mean, variance=data.variance),
        "beta_vae": lambda: BetaVae(spec.params, shape=data.facts.shape),
    }
    with seeded_weights(spec.seed):
        model = models[name]()
    return ImageRun(spec, model, data)


def noise_images(count: int, side: int = 32) -> ImageData:
    """Return smooth random colour fields of `side` x `side` pixels."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x = nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 1)
    pixels = (x * 255).byte()
    labels = torch.zeros(count, dtype=torch.int64)
    return ImageData(
        *(pixels, labels) * 3, classes=("all",), mean=float(x.mean()), variance=float(x.var()), fingerprint="benchmark"
    )


def write_jpegs(data: ImageData, folder: Path) -> None:
    (folder / "all").mkdir()
    for index, image in enumerate(data.train):
        save_image(_unit(image), folder / "all" / f"{index:05d}.jpg")


def _unit(image: Tensor) -> Tensor:
    return image.float() / 255


if __name__ == "__main__":
    main()
