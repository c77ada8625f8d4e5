"""The device of a run, and bfloat16 where the hardware has it."""

from contextlib import suppress
from functools import cache

import torch


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


def usage(device: torch.device) -> dict[str, float]:
    """Return the GPU's peak memory in GB and its utilization in percent. Return nothing for a CPU."""
    if device.type != "cuda":
        return {}
    readings = {"gpu_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
    with suppress(Exception):  # needs the nvidia-ml-py package, and a driver that answers
        readings["gpu_utilization"] = float(torch.cuda.utilization(device))
    return readings
