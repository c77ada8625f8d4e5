"""Training of both image models: optimiser step, averaged weights, autocast, finite check, seeds."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from hashlib import sha256
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables import precision
from trainables.contract import Evaluation, ImageModel, NonFiniteError, RunSpec
from trainables.data import ImageData
from trainables.evaluation import evaluate
from trainables.learning_rate import learning_rate
from trainables.sample_metrics import SampleMetrics, default_sample_metrics


class ImageRun:
    """A `Run` around an `ImageModel`: the same spec gives the same numbers on the same CPU, interrupted or not."""

    def __init__(self, spec: RunSpec, model: ImageModel, data: ImageData, device: torch.device | None = None) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.device = device or precision.default_device()
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.network = model.network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        self.images = 0
        """Images seen."""
        self._due = 0
        """Images asked for."""
        self._means: dict[str, float] = {}

        params = spec.params
        self._batch_size, self._clip = int(params["batch_size"]), float(params["clip"])
        self._mean_loss = bool(params.get("mean_loss", False))
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.Adam(
            trained,
            lr=learning_rate(params, 0, spec.max_kimg),
            betas=(float(params.get("adam_beta1", 0.9)), float(params.get("adam_beta2", 0.999))),
            weight_decay=float(params.get("weight_decay", 0.0)),
            fused=True,
        )
        self._dropout = float(params.get("dropout", 0.0)) > 0
        flip = params.get("flip", False)
        self._flip = spec.data.name != "shapes" if flip == "auto" else bool(flip)
        decay = float(params["ema"])
        self._ema = Ema(self.network, decay, warmup=bool(params["ema_warmup"])) if decay > 0 else None

        self._pixels = data.train.to(self.device)
        self._order = DataOrder(len(data.train), seed_of(spec.seed, "data order"))
        self._noise = torch.Generator(self.device).manual_seed(seed_of(spec.seed, "noise"))

    def train(self, images: int) -> dict[str, float]:
        """Train on `images` more images and return the mean of each loss. Raise NonFiniteError.

        Every batch is full. If the last batch goes beyond `images`, the next call trains that much less.
        """
        self.network.train()
        totals: dict[str, Tensor] = {}
        began = self.images
        self._due += images
        while self.images < self._due:
            for name, total in self.step(self._batch(self._batch_size)).items():
                totals[name] = totals[name] + total if name in totals else total
        if totals:
            self._means = {name: float(total) / (self.images - began) for name, total in totals.items()}
            self._check_finite(self._means)
        return {**self._means, **precision.usage(self.device)}

    def evaluate(
        self, *, final: bool, sample_metrics: SampleMetrics | None = None, spec: RunSpec | None = None
    ) -> Evaluation:
        """Evaluate the averaged weights with `spec`, or with the run's own spec if it is None. Raise NonFiniteError."""
        network, spec = self.evaluated_network(), spec or self.spec
        seed = seed_of(spec.seed, "evaluation")
        return evaluate(
            self.model,
            network,
            spec,
            self.data,
            sample_metrics or default_sample_metrics(self.data),
            final=final,
            seed=seed,
        )

    def evaluated_network(self) -> nn.Module:
        """Return the network to evaluate, in evaluation mode: averaged weights, or the trained weights if ema is 0."""
        return (self._ema.network if self._ema else self.network).eval()

    def step(self, x: Tensor) -> dict[str, Tensor]:
        """Take one optimiser step on images (B, C, H, W) in [0, 1].

        Return the sum of each loss, still on the device.
        """
        with precision.autocast(self.device), self._dropout_draws():
            losses = self.model.loss(self.network, x, self.images / 1000, self._noise)
        # mean_loss: per dimension, so that `clip` bounds the same gradient at every resolution
        objective = losses["loss"].mean() / (x[0].numel() if self._mean_loss else 1)
        self._optimizer.zero_grad(set_to_none=True)
        objective.backward()  # type: ignore[no-untyped-call]
        if self._clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.spec.params, self.images + len(x), self.spec.max_kimg)
        self._optimizer.step()
        if self._ema:
            self._ema.update(self.network)
        self.images += len(x)
        return {name: loss.detach().sum() for name, loss in losses.items()}

    def state(self) -> dict[str, Any]:
        """Return weights, averages, optimiser, generators and the position in the data, as tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state() if self._ema else None,
            "order": self._order.state(),
            "noise": {"device": self.device.type, "generator": self._noise.get_state()},
            "images": self.images,
            "due": self._due,
            "means": self._means,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._ema:
            self._ema.load_state(state["ema"])
        self._order.load_state(state["order"])
        self.images = int(state["images"])
        self._due = int(state.get("due", self.images))  # version 0.1 cut a batch short at each mark
        self._means = dict(state.get("means", {}))
        if state["noise"]["device"] == self.device.type:
            self._noise.set_state(state["noise"]["generator"].cpu())
        else:  # a CPU's generator state means nothing to a GPU: go on with fresh noise
            self._noise.manual_seed(seed_of(self.spec.seed, f"noise after {self.images}"))

    def _batch(self, count: int) -> Tensor:
        indices = self._order.take(count).to(self.device, non_blocking=True)
        x = self._pixels[indices].float() / 255  # (count, C, H, W)
        if not self._flip:
            return x
        flipped = torch.rand(count, 1, 1, 1, generator=self._noise, device=self.device) < 0.5
        return torch.where(flipped, x.flip(-1), x)

    @contextmanager
    def _dropout_draws(self) -> Iterator[None]:
        """Let dropout draw from a seed of this step, because it can only use the global generator."""
        if not self._dropout:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self.spec.seed, f"dropout after {self.images}"))
            yield

    def _check_finite(self, means: dict[str, float]) -> None:
        for name, mean in means.items():
            if not isfinite(mean):
                raise NonFiniteError(f"{name} became {mean} before {self.images} images; lower lr or clip gradients")
        if not all_finite(self.network):
            raise NonFiniteError(f"a weight is no longer finite after {self.images} images; lower lr or clip gradients")


class Ema:
    """Exponentially averaged weights. Buffers are copied, because BatchNorm's statistics are averages already."""

    def __init__(self, network: nn.Module, decay: float, *, warmup: bool) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self.steps = 0
        self._decay, self._warmup = decay, warmup

    def update(self, network: nn.Module) -> None:
        """Set average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)) at step t = 1, 2, ..."""
        self.steps += 1
        average = get_ema_multi_avg_fn(self.decay())  # type: ignore[no-untyped-call]
        average(list(self.network.parameters()), list(network.parameters()), self.steps)
        for kept, current in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(current)

    def decay(self) -> float:
        """Return the decay of the current step. The warm-up keeps the random start from dominating at early rungs."""
        ramp = (1 + self.steps) / (10 + self.steps)
        return min(self._decay, ramp) if self._warmup else self._decay

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = int(state["steps"])


class DataOrder:
    """Every image once per epoch in a new random order, as one endless stream, so that every batch is full."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._shuffle()

    def take(self, count: int) -> Tensor:
        """Return the next `count` indices, (count,)."""
        parts = []
        while count > 0:
            if self._position == self._size:
                self._shuffle()
            part = self._order[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return torch.cat(parts)

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["epoch"])
        self._shuffle()
        self._position = int(state["position"])

    def _shuffle(self) -> None:
        self._epoch = self._generator.get_state()  # the order follows from it: 5 kB in a checkpoint instead of 400
        self._order = torch.randperm(self._size, generator=self._generator)
        self._position = 0


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Build networks from `seed` inside the block, and restore the global generator afterwards."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(seed_of(seed, "weights"))
        yield


def seed_of(seed: int, purpose: str) -> int:
    """Return the seed for one purpose, so that each purpose of each run has its own random stream."""
    return int.from_bytes(sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


@torch.no_grad()
def all_finite(network: nn.Module) -> bool:
    """Return True if every weight is finite."""
    return bool(torch.stack([weight.isfinite().all() for weight in network.parameters()]).all())
