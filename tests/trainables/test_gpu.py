"""What a GPU needs of training and evaluation: the parts that a CPU can show, and a run on a GPU where there is one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainables.test_training import KINDS
from tests.trainables.tiny import tiny_data, tiny_model, tiny_run, tiny_spec
from trainables import precision
from trainables.training import ImageRun

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda")


class Operations(TorchDispatchMode):
    """Counts the operations of torch by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@KINDS
def test_a_step_reads_nothing_back_and_copies_nothing_from_the_host(kind: str) -> None:
    run = tiny_run(kind, ema=0.9, flip=True)
    run.train(16)
    with Operations() as operations:
        for _ in range(3):
            run._take_step(run._order.take(8))
    assert operations.counts["convolution"] > 0
    assert operations.counts["_local_scalar_dense"] == 0  # .item(): the host would wait for the device
    assert operations.counts["lift_fresh"] == 0  # a tensor from Python numbers


@KINDS
def test_a_network_for_inference_casts_no_weight_and_gives_the_same_numbers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda _: True)
    run = tiny_run(kind)
    network = run.evaluated_network()
    generator = torch.Generator()

    def draw(used: torch.nn.Module) -> tuple[torch.Tensor, int]:
        with torch.inference_mode(), precision.autocast("cpu"), Operations() as operations:
            samples = run.model.sample(used, 4, {}, 3, generator.manual_seed(0))
        return samples, operations.counts["_to_copy"]

    samples, casts = draw(network)
    same, fewer = draw(precision.for_inference(network))
    assert torch.equal(samples, same)
    assert fewer <= casts / 2


def test_a_network_whose_norm_would_copy_its_input_is_not_stored_channels_last() -> None:
    layouts = {kind: precision.memory_format(tiny_run(kind).network, GPU) for kind in ("ncsn", "beta_vae")}
    assert layouts == {"ncsn": torch.contiguous_format, "beta_vae": torch.channels_last}


def test_steps_are_recorded_only_when_the_loss_no_longer_depends_on_kimg() -> None:
    warmed_up = {kind: tiny_run(kind, **params).model.constant_from_kimg for kind, params in PARAMS.items()}
    assert warmed_up == {"ncsn": 0.0, "beta_vae": 2.0}


PARAMS: dict[str, dict[str, float]] = {"ncsn": {}, "beta_vae": {"kl_warmup_kimg": 2.0}}


@ON_A_GPU
@pytest.mark.parametrize("kind", ["ncsn", "resunet", "beta_vae"])
def test_recorded_steps_equal_steps_kernel_by_kernel(kind: str) -> None:
    recorded, eager, resumed = (gpu_run(kind) for _ in range(3))
    eager._may_record = False
    assert recorded.train(320) == eager.train(320)
    resumed.train(160)
    state = resumed.state()
    again = gpu_run(kind)
    again.load_state(state)
    again.train(160)
    assert recorded._recorded
    assert not eager._recorded
    for weights in zip(*(run.evaluated_network().parameters() for run in (recorded, eager, again)), strict=True):
        assert torch.equal(weights[0], weights[1])
        assert torch.equal(weights[0], weights[2])


@ON_A_GPU
@pytest.mark.parametrize("kind", ["ncsn", "beta_vae"])
def test_a_model_trains_is_evaluated_and_returns_its_memory(kind: str) -> None:
    gpu_run(kind).train(80)  # libraries allocate what they keep
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    run = gpu_run(kind)
    losses = run.train(800)
    evaluation = run.evaluate(final=False, spec=replace(run.spec, samples=64, nfe=10))
    assert losses["loss"] < 10 * evaluation.metrics["loss"]
    assert evaluation.metrics["nonfinite"] == 0
    assert losses["gpu_memory_gb"] > 0
    del run
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() <= before + 2**20


def gpu_run(kind: str) -> ImageRun:
    spec = tiny_spec(kind, ema=0.9)
    return ImageRun(spec, tiny_model(spec), tiny_data(), GPU)
