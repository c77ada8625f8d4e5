"""Where a run computes and how exactly: the device, and bfloat16 where the hardware multiplies in it."""

from contextlib import suppress
from functools import cache

import torch


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def has_native_bfloat16(device_type: str) -> bool:
    """Whether bfloat16 is arithmetic there and not emulation, which is slower than float32."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # oneDNN says yes from AVX-512 on, and then converts: only these two multiply bfloat16 themselves
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device | str) -> torch.autocast:
    """Convolutions and matrix products in bfloat16 where that pays; weights, losses and optimiser stay float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=has_native_bfloat16(kind))


def usage(device: torch.device) -> dict[str, float]:
    """Peak memory in GB and the share of time in which kernels ran, in percent; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    found = {"gpu_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    with suppress(Exception):  # needs the nvidia-ml-py package, and a driver that answers
        found["gpu_utilization"] = float(torch.cuda.utilization(device))
    return found
