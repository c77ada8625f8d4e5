"""The device of a run, and bfloat16 where the hardware has it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import cache, lru_cache
from math import inf, isfinite
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=8)
def on_device(network: Network, device: torch.device) -> Network:
    """Return a frozen network on a device: itself on the CPU, else a copy, which is made once.

    The network stays on the CPU, because it travels to processes that may have no GPU.
    """
    return network if device.type == "cpu" else deepcopy(network).to(device)


@cache
def has_native_bfloat16(device_type: str) -> bool:
    """Return True if the device computes in bfloat16. Emulation is slower than float32."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # oneDNN says yes for every CPU with AVX-512, but only these two extensions multiply bfloat16 natively
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device | str) -> torch.autocast:
    """Return autocast to bfloat16 for convolutions and matrix products where that is faster. The rest stays float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=has_native_bfloat16(kind))


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the layout of a network's weights: channels last on a GPU, except where a norm would copy its input."""
    grouped = any(isinstance(module, nn.GroupNorm | nn.InstanceNorm2d) for module in network.modules())
    return torch.channels_last if device.type == "cuda" and not grouped else torch.contiguous_format


def for_inference(network: nn.Module) -> nn.Module:
    """Return a network that gives the same numbers under `autocast`, without casting its weights at each call.

    It is `network` itself where autocast is off.
    """
    device = next(network.parameters()).device
    if not has_native_bfloat16(device.type):
        return network
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.bfloat16()
    return copy


@contextmanager
def exact() -> Iterator[None]:
    """Compute in float32 inside the block: no autocast, and no TensorFloat-32, which keeps 10 bits."""
    kind = default_device().type
    convolutions = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(kind, enabled=False), convolutions:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products


@torch.no_grad()
def all_finite(network: nn.Module) -> bool:
    """Return True if every weight and buffer is finite."""
    values = [value for value in network.state_dict().values() if value.is_floating_point()]
    return isfinite(nn.utils.get_total_norm(values, inf))


def usage(device: torch.device) -> dict[str, float]:
    """Return the GPU's peak memory in GB and its utilization in percent. Return nothing for a CPU."""
    if device.type != "cuda":
        return {}
    readings = {"gpu_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    with suppress(Exception):  # needs the nvidia-ml-py package, and a driver that answers
        readings["gpu_utilization"] = float(torch.cuda.utilization(device))
    return readings
