"""The GPUs of this machine, without torch and ray."""

import ctypes
import os
from itertools import takewhile


def local_gpus() -> int:
    """Return the number of GPUs that this process may use. CUDA_VISIBLE_DEVICES can exclude some of the machine's."""
    there, visible = nvml_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not there:
        return there
    named = [device.strip() for device in visible.split(",")]
    return len([*takewhile(lambda name: _exists(name, there), named)])  # CUDA stops at the first that does not exist


def nvml_gpus() -> int:
    """Return the number of NVIDIA GPUs that NVML reports, or 0 if the NVIDIA driver is missing."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint()
    failed = nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return 0 if failed else count.value


def _exists(name: str, there: int) -> bool:
    return name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < there)
