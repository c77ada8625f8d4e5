"""Training of both image models: optimiser step, averaged weights, autocast, finite check, seeds."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from trainables import precision
from trainables.allocator import keep_freed_memory
from trainables.averaged_weights import Ema
from trainables.contract import Evaluation, ImageModel, NonFiniteError, RunSpec, named_losses
from trainables.cuda_graph import RecordedStep, on_side_stream
from trainables.data import ImageData
from trainables.data import load as load_images
from trainables.data_order import DataOrder
from trainables.evaluation import evaluate
from trainables.learning_rate import learning_rate
from trainables.model import MakeImageModel
from trainables.sample_metrics import SampleMetrics, default_sample_metrics

STEPS_BEFORE_RECORDING = 3
"""Steps that run one kernel at a time, in which libraries allocate their workspaces and choose their kernels."""
log = logging.getLogger(__name__)


class ImageRun:
    """A `Run` around an `ImageModel`: the same spec gives the same numbers on the same CPU, interrupted or not."""

    def __init__(self, spec: RunSpec, model: ImageModel, data: ImageData, device: torch.device | None = None) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.device = device or precision.default_device()
        if self.device.type == "cpu":
            keep_freed_memory()
        layout = precision.memory_format(model.network, self.device)
        self.network: nn.Module = model.network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]
        self.images = 0
        """Images seen."""
        self._due = 0
        """Images asked for."""
        self._means: dict[str, float] = {}

        params = spec.params
        self._batch_size, self._clip = int(params["batch_size"]), float(params["clip"])
        self._mean_loss = bool(params.get("mean_loss", False))
        trained = [weight for weight in self.trained().parameters() if weight.requires_grad]
        self._on_gpu = self.device.type == "cuda"
        rate = learning_rate(params, 0, spec.max_kimg)
        self._rate = torch.tensor(rate, device=self.device) if self._on_gpu else rate
        """Learning rate. On a GPU a tensor, which a recorded step reads."""
        self._rate_set = rate
        self.optimizer = torch.optim.Adam(
            trained,
            lr=self._rate,
            betas=(float(params.get("adam_beta1", 0.9)), float(params.get("adam_beta2", 0.999))),
            weight_decay=float(params.get("weight_decay", 0.0)),
            fused=True,
            capturable=self._on_gpu,
        )
        self._dropout = float(params.get("dropout", 0.0)) > 0
        flip = params.get("flip", False)
        self._flip = spec.data.name not in ("shapes", "digits") if flip == "auto" else bool(flip)
        decay = float(params["ema"])
        self._ema = Ema(self.network, decay, warmup=bool(params["ema_warmup"])) if decay > 0 else None

        self._pixels = data.train.to(self.device)
        self._order = DataOrder(len(data.train), seed_of(spec.seed, "data order"), self.device)
        self.noise = torch.Generator(self.device).manual_seed(seed_of(spec.seed, "noise"))
        self._names: list[str] = []
        """Names of the losses."""
        self._recorded: RecordedStep | None = None
        self._eager_steps = 0
        """Steps since the start or the last load_state."""
        self._may_record = self._on_gpu and not self._dropout

    def trained(self) -> nn.Module:
        """Return the part of the network that the optimiser trains."""
        return self.network

    def train(self, images: int) -> dict[str, float]:
        """Train on `images` more images and return the mean of each loss. Raise NonFiniteError.

        Every batch is full. If the last batch goes beyond `images`, the next call trains that much less.
        """
        self.network.train()
        totals: Tensor | None = None
        began = self.images
        self._due += images
        while self.images < self._due:
            losses = self._take_step(self._order.take(self._batch_size))
            totals = losses.clone() if totals is None else totals.add_(losses)
        if totals is not None:
            means = [total / (self.images - began) for total in totals.tolist()]
            self._means = dict(zip(self._names, means, strict=True))
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
        """Take one optimiser step on images (B, C, H, W) in [0, 1], and return the losses of each image, (B,), by name.

        Everything happens on the device and nothing is read back, so the step can be recorded.
        """
        with precision.autocast(self.device), self._dropout_draws():
            losses = named_losses(self.model.loss(self.network, x, self.images / 1000, self.noise))
        check_losses(losses, len(x))
        # mean_loss: per dimension, so that `clip` bounds the same gradient at every resolution
        objective = losses["loss"].mean() / (x[0].numel() if self._mean_loss else 1)
        self.optimizer.zero_grad(set_to_none=True)
        objective.backward()  # type: ignore[no-untyped-call]
        if self._clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        self.optimizer.step()
        return losses

    def _take_step(self, indices: Tensor) -> Tensor:
        """Take one step on the training images with these indices, and return the sum of each loss.

        On a GPU the step is recorded as soon as all steps are alike, and replayed from then on.
        """
        self._prepare_step(len(indices))
        if self._recorded:
            losses = self._recorded(indices)
        elif not self._may_record or self.images / 1000 < self.model.constant_from_kimg:
            losses = self._step_on(indices)
        elif self._eager_steps < STEPS_BEFORE_RECORDING:
            losses = on_side_stream(self._step_on, indices)
            self._eager_steps += 1
        else:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                self._recorded = RecordedStep(self._step_on, indices, self.noise)
                losses = self._recorded(indices)
            except RuntimeError as error:
                log.warning("the training step cannot be a CUDA graph (%s), so it runs kernel by kernel", error)
                self._may_record = False
                losses = self._step_on(indices)
        self.images += len(indices)
        return losses

    def _step_on(self, indices: Tensor) -> Tensor:
        """Take one step on the training images with these indices (B,), and return the sum of each loss, (losses,)."""
        losses = self.step(self._batch(indices))
        if self._ema:
            self._ema.update(self.network)
        self._names = list(losses)
        return torch.stack([loss.detach().sum() for loss in losses.values()])

    def _prepare_step(self, count: int) -> None:
        """Set the learning rate and the decay of the averages for the next step, on `count` images."""
        rate = learning_rate(self.spec.params, self.images + count, self.spec.max_kimg)
        if isinstance(self._rate, Tensor):
            if rate != self._rate_set:
                self._rate.fill_(rate)
                self._rate_set = rate
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        if self._ema:
            self._ema.next_step()

    def state(self) -> dict[str, Any]:
        """Return weights, averages, optimiser, generators and the position in the data, as tensors and plain data."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer_state(),
            "ema": self._ema.state() if self._ema else None,
            "order": self._order.state(),
            "noise": {"device": self.device.type, "generator": self.noise.get_state()},
            "images": self.images,
            "due": self._due,
            "means": self._means,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # the state may come from another device
            group["lr"], group["capturable"] = self._rate, self._on_gpu
        self._recorded, self._eager_steps = None, 0
        if self._ema:
            self._ema.load_state(state["ema"])
        self._order.load_state(state["order"])
        self.images = int(state["images"])
        self._due = int(state.get("due", self.images))  # version 0.1 cut a batch short at each mark
        self._means = dict(state.get("means", {}))
        if state["noise"]["device"] == self.device.type:
            self.noise.set_state(state["noise"]["generator"].cpu())
        else:  # a CPU's generator state means nothing to a GPU: go on with fresh noise
            self.noise.manual_seed(seed_of(self.spec.seed, f"noise after {self.images}"))

    def _optimizer_state(self) -> dict[str, Any]:
        """Return the optimiser's state with the learning rate as a number, as every device reads it."""
        state = self.optimizer.state_dict()
        groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def _batch(self, indices: Tensor) -> Tensor:
        x = self._pixels[indices].float() / 255  # (B, C, H, W)
        if not self._flip:
            return x
        flipped = torch.rand(len(x), 1, 1, 1, generator=self.noise, device=self.device) < 0.5
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
        if not precision.all_finite(self.network):
            raise NonFiniteError(f"a weight is no longer finite after {self.images} images; lower lr or clip gradients")


def check_losses(losses: dict[str, Tensor], images: int) -> None:
    """Raise ValueError unless each loss has one value for each image."""
    if "loss" not in losses:
        raise ValueError(f"the losses must include `loss`, the one to train; these are {', '.join(losses)}")
    for name, loss in losses.items():
        if loss.shape != (images,):
            shape = tuple(loss.shape)
            raise ValueError(f"{name} must have one value for each image, shape ({images},), not {shape}")


def image_run(spec: RunSpec, make: MakeImageModel, kind: type[ImageRun] | None = None) -> ImageRun:
    """Return the run of a model of images on the images of the spec: an ImageRun, or a class derived from it."""
    images = load_images(spec.data)
    with seeded_weights(spec.seed):
        model = make(spec.params, images.facts)
    return (kind or ImageRun)(spec, model, images)


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Build networks from `seed` inside the block, and restore the global generator afterwards."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(seed_of(seed, "weights"))
        yield


def seed_of(seed: int, purpose: str) -> int:
    """Return the seed for one purpose, so that each purpose of each run has its own random stream."""
    return int.from_bytes(sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
